using System.Runtime.InteropServices;
using KernelContrast.Datasets;

namespace KernelContrast.Cli;

/// <summary>A matrix of embeddings from another program: .npy (float32, float64) or .safetensors (key <c>embeddings</c>).</summary>
internal sealed record EmbeddingsFile(string Path, float[] Values, int Rows, int Dim)
{
    internal const string Key = "embeddings", LabelsKey = "labels";

    /// <summary>The rows' classes, when a .safetensors file brings them.</summary>
    internal int[]? Labels { get; private init; }

    private const float SmallestNormal = 1.17549435e-38f;

    /// <exception cref="UserError">No such file, no matrix of floats, or a value float32 cannot hold.</exception>
    /// <exception cref="DataFormatException">The file is damaged.</exception>
    internal static EmbeddingsFile Read(string path, string option = "--embeddings")
    {
        InputFile.Check(path, option, "a .npy or .safetensors file");
        return System.IO.Path.GetExtension(path).ToLowerInvariant() switch
        {
            ".npy" => ReadNpy(path),
            ".safetensors" => ReadSafetensors(path, option),
            _ => throw new UserError($"{path}: {option} expects a .npy or .safetensors file."),
        };
    }

    /// <summary>This, once its numbers are known to be finite where that was asked for (<c>--check</c>, plots).</summary>
    /// <exception cref="UserError">One is not; the message names its row.</exception>
    internal EmbeddingsFile CheckedFor(bool finite)
    {
        int wrong = finite ? Array.FindIndex(Values, v => !float.IsFinite(v)) : -1;
        return wrong < 0 ? this : throw new UserError($"{Path}: row {wrong / Dim}, column {wrong % Dim} is {Values[wrong]}, expected finite numbers.");
    }

    /// <summary>One whole number per row: a .npy vector, or <c>labels</c> of a .safetensors file.</summary>
    /// <exception cref="UserError">No such file, no vector of whole numbers, or a label that does not fit 32 bits.</exception>
    /// <exception cref="DataFormatException">The file is damaged.</exception>
    internal static int[] ReadLabels(string path)
    {
        InputFile.Check(path, "--labels", "a .npy or .safetensors file");
        switch (System.IO.Path.GetExtension(path).ToLowerInvariant())
        {
            case ".npy":
                NpyArray array = NpyFile.Read(path);
                if (array.Type[0] == 'f') throw new UserError($"{path}: expected labels of whole numbers, found {array.Type}. Convert them with array.astype('<i4').");
                return array.Shape.Rank == 1 ? LabelsOf(array) : throw new UserError($"{path}: expected a vector of labels, found the shape {array.Shape}.");
            case ".safetensors":
                using (var reader = new SafetensorsReader(path))
                    return ReadLabels(path, reader) ?? throw new UserError($"{path}: expected a vector '{LabelsKey}' of I32.");
            default: throw new UserError($"{path}: --labels expects a .npy or .safetensors file.");
        }
    }

    /// <summary>A .npy file's whole numbers, as NumPy's int64 may hold them, in 32 bits.</summary>
    /// <exception cref="UserError">One does not fit; the message names its row.</exception>
    private static int[] LabelsOf(NpyArray array)
    {
        long[] labels = array.ToInt64s();
        int wrong = Array.FindIndex(labels, label => label is < int.MinValue or > int.MaxValue);
        return wrong < 0 ? Array.ConvertAll(labels, label => (int)label)
            : throw new UserError($"{array.Path}: the label of row {wrong} is {labels[wrong]}, expected {int.MinValue} to {int.MaxValue}. Number the classes from 0, and rows without one -1.");
    }

    private static EmbeddingsFile ReadNpy(string path)
    {
        NpyArray array = NpyFile.Read(path);
        Shape shape = Matrix(path, array.Shape);
        switch (array.Type)
        {
            case "f4": return new(path, array.ToSingles(), shape[0], shape[1]);
            case "f8":
                CheckRange(path, MemoryMarshal.Cast<byte, double>(array.Bytes), shape[1]);
                return new(path, array.ToSingles(), shape[0], shape[1]);
            default: throw new UserError($"{path}: expected elements of float32 or float64, found {array.Type}. Convert them with array.astype('<f4').");
        }
    }

    /// <summary>The tensor called as the option is, else <see cref="Key"/>.</summary>
    private static EmbeddingsFile ReadSafetensors(string path, string option)
    {
        using var reader = new SafetensorsReader(path);
        SafetensorsEntry entry = reader.Entries.FirstOrDefault(e => e.Name == option[2..]) ?? reader.Entries.FirstOrDefault(e => e.Name == Key)
            ?? throw new UserError($"{path}: expected a tensor '{Key}', found {(reader.Entries.Count == 0 ? "no tensors" : string.Join(", ", reader.Entries.Select(e => $"'{e.Name}'").Take(8)))}.");
        Shape shape = Matrix(path, entry.Shape);
        if (entry.Type is not ("F32" or "F64" or "F16" or "BF16"))
            throw new UserError($"{path}: expected '{entry.Name}' to be of floats, found {entry.Type}.");
        using Tensor tensor = reader.Read(entry.Name);
        return new(path, tensor.ToArray(), shape[0], shape[1]) { Labels = ReadLabels(path, reader) };
    }

    private static int[]? ReadLabels(string path, SafetensorsReader reader)
    {
        if (!reader.Entries.Any(e => e is { Name: LabelsKey, Type: "I32", Shape.Rank: 1 })) return null;
        using Tensor labels = reader.Read(LabelsKey);
        int[] classes = labels.ToArray<int>();
        return classes.All(c => c is >= -1 and < 1_000_000) ? classes
            : throw new UserError($"{path}: expected '{LabelsKey}' to be classes of 0 to 999999, or -1 for none.");
    }

    private static Shape Matrix(string path, Shape shape) => shape.Rank == 2 ? shape
        : throw new UserError($"{path}: expected a matrix [rows, dim], found the shape {shape}.");

    /// <summary>A double that becomes infinite, or a row that becomes zero, would give a number that is finite and wrong.</summary>
    private static void CheckRange(string path, ReadOnlySpan<double> values, int dim)
    {
        for (int start = 0; start < values.Length; start += dim)
        {
            double greatest = 0;
            foreach (double value in values.Slice(start, dim))
                if (double.IsFinite(value)) greatest = Math.Max(greatest, Math.Abs(value));
            if (greatest > float.MaxValue || (greatest > 0 && greatest < SmallestNormal))
                throw new UserError($"{path}: row {start / dim} has elements up to {greatest:G3}, outside float32's range of {SmallestNormal:G3} to {float.MaxValue:G3}. "
                    + "Scale the row: the loss does not change, its gradient by the inverse.");
        }
    }
}
