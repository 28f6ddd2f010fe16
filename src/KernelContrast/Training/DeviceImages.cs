using KernelContrast.Datasets;

namespace KernelContrast.Training;

/// <summary>A data set's images as bytes in the memory of a device that does not read the host's.</summary>
internal static class DeviceImages
{
    private const int ChunkBytes = 64 << 20;

    /// <summary>
    /// All images, [images, channels·height·width] bytes, or null where they stay on the host: on the CPU, and when they
    /// need more than the device grants (<see cref="Device.ImageBudget"/>). Batches are then read and sent one by one.
    /// </summary>
    /// <exception cref="DataFormatException">An image cannot be read.</exception>
    internal static Tensor? Load(IImageDataset data, Device device)
    {
        int size = data.PixelsPerImage;
        long bytes = (long)data.Count * size;
        if (bytes == 0 || bytes > device.ImageBudget) return null;
        using TensorScope.Suspension suspended = TensorScope.Suspend();
        Tensor all = Tensor.Empty(new(data.Count, size), device, DType.UInt8);
        int perChunk = Math.Clamp(ChunkBytes / size, 1, data.Count);
        var chunk = new byte[checked(perChunk * size)];
        try
        {
            for (int start = 0; start < data.Count; start += perChunk)
            {
                int count = Math.Min(perChunk, data.Count - start);
                for (int i = 0; i < count; i++) data.Read(start + i, chunk.AsSpan(i * size, size));
                device.Upload(all.Buffer, chunk.AsSpan(0, count * size), (long)start * size);
            }
        }
        catch
        {
            all.Dispose();
            throw;
        }
        return all;
    }
}
