using System.Runtime.InteropServices;
using KernelContrast.Devices;
using KernelContrast.Losses;

namespace KernelContrast.Tests;

/// <summary>What <see cref="LossCall"/> and docs/interop.md say of calls from several threads.</summary>
[TestFixture]
internal sealed class ConcurrentCallTests
{
    private const int Rows = 66, Columns = 80, Dim = 20, Threads = 3;

    /// <summary>Each thread goes through all problems, from another one on, so that like meets like and unlike.</summary>
    [Test]
    public void Calls_from_several_threads_give_the_bits_they_give_alone([ValueSource(typeof(TestDevice), nameof(TestDevice.Names))] string name)
    {
        Device device = Device.Parse(name);
        using var memory = new Memory(device);
        Func<byte[]>[][] problems = [.. Enumerable.Range(0, Threads).Select(_ => Problems(memory))];
        device.Synchronize();
        byte[][] alone = [.. problems[0].Select(run => run())];
        Assert.That(alone.Select(Convert.ToHexString), Is.Unique, "problems differ");
        // A device on which nothing was launched yet: its kernels are found by several threads at once.
        (device as CudaDevice)?.Kernels.Dispose();
        var failures = new List<string>();
        using var together = new Barrier(Threads);
        Thread[] threads = [.. Enumerable.Range(0, Threads).Select(t => new Thread(() =>
        {
            try
            {
                together.SignalAndWait();
                for (int i = 0; i < (name == "cpu" ? 30 : 2) * alone.Length; i++)
                {
                    int problem = (i + 5 * t) % alone.Length;
                    if (problems[t][problem]().AsSpan().SequenceEqual(alone[problem])) continue;
                    lock (failures) failures.Add($"thread {t}, problem {problem}");
                }
            }
            catch (Exception e) { lock (failures) failures.Add($"thread {t}: {e.Message}"); }
        }))];
        foreach (Thread thread in threads) thread.Start();
        foreach (Thread thread in threads) thread.Join();
        Assert.That(failures, Is.Empty);
    }

    /// <summary>What a thread is about to launch with must not be taken back by another, which needs less.</summary>
    [Test]
    public void The_limit_of_shared_memory_is_never_lowered()
    {
        var kernel = new CudaKernel("nn/elementwise", "add_in_place");
        CudaFunction function = TestDevice.Cuda.Kernels.Find(kernel);
        function.RaiseDynamicShared(90 << 10);
        function.RaiseDynamicShared(60 << 10);
        Assert.That(function.DynamicSharedLimit, Is.EqualTo(90 << 10));
        Assert.That(TestDevice.Cuda.Kernels.Find(kernel), Is.SameAs(function));
    }

    private static Func<byte[]>[] Problems(Memory memory)
    {
        var problems = new List<Func<byte[]>>();
        nint stream = memory.Stream();
        nint rows = memory.Random(Rows * Dim, 1), columns = memory.Random(Columns * Dim, 2), others = memory.Random(Rows * Dim, 3);
        nint one = memory.Of<float>([1]), labels = memory.Of<int>([.. Enumerable.Range(0, Rows).Select(i => i % 7)]);
        foreach (LossKind kind in Enum.GetValues<LossKind>())
            foreach (float temperature in new[] { 0.1f, 0.01f })
            {
                int keys = kind is LossKind.InfoNce or LossKind.SigLip or LossKind.Moco ? Columns : Rows;
                LossCall call = new(kind, Rows, keys, Dim, temperature);
                (call.Bias, call.Stream, call.GradLoss) = (-2, stream, one);
                call.Embeddings = new(rows, Dim);
                if (!call.IsWithinBatch) call.Keys = new(columns, Dim);
                if (kind == LossKind.Moco) call.Positives = new(others, Dim);
                if (kind == LossKind.SupCon) call.Labels = labels;
                bool gradKeys = !call.IsWithinBatch && kind != LossKind.Moco;
                (call.Loss, call.GradTemperature, call.GradEmbeddings) = (memory.Floats(1), memory.Floats(1), new(memory.Floats(Rows * Dim), Dim));
                if (gradKeys) call.GradKeys = new(memory.Floats(keys * Dim), Dim);
                (call.Saved, call.Workspace) = (memory.Bytes(call.SavedBytes(memory.Device)), memory.Bytes(call.WorkspaceBytes(memory.Device)));
                LossCall made = call;
                problems.Add(() =>
                {
                    made.Forward(memory.Device);
                    made.Backward(memory.Device);
                    return memory.Read(stream, (made.Loss, 1), (made.GradTemperature, 1), (made.GradEmbeddings.Pointer, Rows * Dim), (made.GradKeys.Pointer, gradKeys ? keys * Dim : 0));
                });
            }
        foreach (int k in new[] { 3, 70 })
        {
            CosineTopKCall call = new(Rows, Columns, Dim, k) { Stream = stream, Queries = new(rows, Dim), Keys = new(columns, Dim) };
            (call.Indices, call.Similarities, call.Workspace) = (memory.Floats(Rows * k), memory.Floats(Rows * k), memory.Bytes(call.WorkspaceBytes(memory.Device)));
            CosineTopKCall made = call;
            problems.Add(() =>
            {
                made.Run(memory.Device);
                return memory.Read(stream, (made.Indices, Rows * k), (made.Similarities, Rows * k));
            });
        }
        CosineSimilarityCall matrix = new(Rows, Columns, Dim) { Stream = stream, A = new(rows, Dim), B = new(columns, Dim) };
        (matrix.Similarities, matrix.GradA, matrix.GradB) = (memory.Floats(Rows * Columns), new(memory.Floats(Rows * Dim), Dim), new(memory.Floats(Columns * Dim), Dim));
        (matrix.GradSimilarities, matrix.Saved, matrix.Workspace) = (memory.Random(Rows * Columns, 4), memory.Bytes(matrix.SavedBytes(memory.Device)), memory.Bytes(matrix.WorkspaceBytes(memory.Device)));
        problems.Add(() =>
        {
            matrix.Forward(memory.Device);
            matrix.Backward(memory.Device);
            return memory.Read(stream, (matrix.Similarities, Rows * Columns), (matrix.GradA.Pointer, Rows * Dim), (matrix.GradB.Pointer, Columns * Dim));
        });
        return [.. problems];
    }

    /// <summary>Buffers of a device, by their addresses, until disposed.</summary>
    private sealed class Memory(Device device) : IDisposable
    {
        private readonly Dictionary<nint, DeviceBuffer> _buffers = [];
        private readonly Dictionary<nint, CudaStream> _streams = [];

        internal Device Device => device;

        internal nint Stream()
        {
            if (device is not CudaDevice cuda) return 0;
            var stream = new CudaStream(cuda);
            _streams[stream.Handle] = stream;
            return stream.Handle;
        }

        internal nint Bytes(long bytes)
        {
            DeviceBuffer buffer = device.Allocate(Math.Max(bytes, 4));
            _buffers[buffer.Pointer] = buffer;
            return buffer.Pointer;
        }

        internal nint Floats(int count) => Bytes(4L * count);

        internal nint Of<T>(T[] values) where T : unmanaged
        {
            nint address = Bytes(4L * values.Length);
            device.CopyFromHost(_buffers[address], MemoryMarshal.AsBytes<T>(values));
            return address;
        }

        internal nint Random(int count, ulong seed)
        {
            var random = new PhiloxStream(seed, 31);
            return Of<float>([.. Enumerable.Range(0, count).Select(_ => random.NextNormal())]);
        }

        internal byte[] Read(nint stream, params (nint Address, int Count)[] parts)
        {
            if (_streams.TryGetValue(stream, out CudaStream? its)) its.Synchronize();
            var bytes = new byte[4 * parts.Sum(p => p.Count)];
            int at = 0;
            foreach ((nint address, int count) in parts.Where(p => p.Count > 0))
            {
                device.CopyToHost(bytes.AsSpan(at, 4 * count), _buffers[address]);
                at += 4 * count;
            }
            return bytes;
        }

        public void Dispose()
        {
            device.Synchronize();
            foreach (CudaStream stream in _streams.Values) stream.Dispose();
            foreach (DeviceBuffer buffer in _buffers.Values) buffer.Release();
        }
    }
}
