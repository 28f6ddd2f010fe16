using System.Buffers.Binary;
using System.Text;
using CsCheck;

namespace KernelContrast.Tests;

[TestFixture]
internal sealed class SafetensorsTests
{
    private string _path = "";

    [SetUp]
    public void MakeDirectory() => _path = Path.Combine(Directory.CreateTempSubdirectory("kc-safetensors").FullName, "t.safetensors");

    [TearDown]
    public void RemoveDirectory() => Directory.Delete(Path.GetDirectoryName(_path)!, recursive: true);

    [Test]
    public void Everything_written_is_read_back()
    {
        using var scope = new TensorScope();
        var tensors = new Dictionary<string, Tensor>
        {
            ["conv"] = Tensor.RandomNormal(new(3, 2, 5, 4), 1),
            ["scalar"] = Tensor.From<float>([float.NaN], new()),
            ["labels"] = Tensor.From<int>([1, -2, int.MaxValue], new(3)),
            ["bytes"] = Tensor.From<byte>([1, 2, 255], new(1, 3)),
            ["none"] = Tensor.From<float>([], new(0, 7)),
            ["näme \"quoted\""] = Tensor.RandomNormal(new(2), 2),
        };
        Safetensors.Write(_path, tensors, new Dictionary<string, string> { ["json"] = "{\"a\": 1}\n" });
        using var reader = new SafetensorsReader(_path);
        Assert.That(reader.Metadata["json"], Is.EqualTo("{\"a\": 1}\n"));
        Dictionary<string, Tensor> back = Safetensors.Read(_path);
        Assert.That(back.Keys, Is.EqualTo(tensors.Keys));
        foreach ((string name, Tensor tensor) in tensors)
        {
            Assert.That(back[name].Shape, Is.EqualTo(tensor.Shape), name);
            if (tensor.Type == DType.Float32) Assert.That(back[name].ToArray(), Is.EqualTo(tensor.ToArray()), name);
            else if (tensor.Type == DType.Int32) Assert.That(back[name].ToArray<int>(), Is.EqualTo(tensor.ToArray<int>()), name);
            else Assert.That(back[name].ToArray<byte>(), Is.EqualTo(tensor.ToArray<byte>()), name);
        }
    }

    [Test]
    public void Rank_4_is_written_in_NCHW_order()
    {
        using Tensor x = Tensor.From<float>([0f, 1, 2, 3, 4, 5, 6, 7], new(1, 2, 2, 2));
        Safetensors.Write(_path, [new("x", x)]);
        byte[] file = File.ReadAllBytes(_path);
        for (int i = 0; i < 8; i++)
            Assert.That(BinaryPrimitives.ReadSingleLittleEndian(file.AsSpan(file.Length - 32 + 4 * i)), Is.EqualTo((float)i));
    }

    [Test]
    public void Wider_and_narrower_numbers_are_converted()
    {
        var data = new byte[8 + 2 + 2 + 8 + 1];
        BinaryPrimitives.WriteDoubleLittleEndian(data, 1.5);
        BinaryPrimitives.WriteHalfLittleEndian(data.AsSpan(8), (Half)(-2.25));
        BinaryPrimitives.WriteUInt16LittleEndian(data.AsSpan(10), 0x4049);   // 3.140625 in bfloat16
        BinaryPrimitives.WriteInt64LittleEndian(data.AsSpan(12), -7);
        data[20] = 1;
        Save("""
            {"d":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},"h":{"dtype":"F16","shape":[1],"data_offsets":[8,10]},
            "b":{"dtype":"BF16","shape":[1],"data_offsets":[10,12]},"i":{"dtype":"I64","shape":[],"data_offsets":[12,20]},
            "t":{"dtype":"BOOL","shape":[1],"data_offsets":[20,21]}}
            """, data);
        using var scope = new TensorScope();
        Dictionary<string, Tensor> all = Safetensors.Read(_path);
        Assert.That(new[] { all["d"].Item(), all["h"].Item(), all["b"].Item() }, Is.EqualTo(new[] { 1.5f, -2.25f, 3.140625f }));
        Assert.That(all["i"].ToArray<int>(), Is.EqualTo(new[] { -7 }));
        Assert.That(all["t"].ToArray<byte>(), Is.EqualTo(new byte[] { 1 }));
    }

    [Test]
    public void A_tensor_that_is_not_there_is_answered_with_those_that_are()
    {
        using Tensor x = Tensor.Zeros(new(1));
        Safetensors.Write(_path, [new("weight", x)]);
        using var reader = new SafetensorsReader(_path);
        Assert.That(() => reader.Read("wait"), Throws.TypeOf<KeyNotFoundException>().With.Message.Contains("weight"));
    }

    private static readonly object[] s_hostile =
    [
        new object[] { "no JSON", "[1]", 0, "JSON object" },
        new object[] { "cut JSON", "{\"a\":", 0, "JSON object" },
        new object[] { "entry is no object", "{\"a\":1}", 0, "'a'" },
        new object[] { "no offsets", """{"a":{"dtype":"F32","shape":[1]}}""", 4, "data_offsets" },
        new object[] { "behind the end", """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 4, "within the 4 bytes" },
        new object[] { "backward", """{"a":{"dtype":"F32","shape":[],"data_offsets":[4,0]}}""", 4, "[4, 0]" },
        new object[] { "negative offset", """{"a":{"dtype":"F32","shape":[],"data_offsets":[-4,0]}}""", 4, "-4" },
        new object[] { "shape and span differ", """{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,4]}}""", 4, "span 4 bytes" },
        new object[] { "overflowing shape", """{"a":{"dtype":"F32","shape":[2147483647,2147483647,4],"data_offsets":[0,4]}}""", 4, "span 4 bytes" },
        new object[] { "overflowing shape of an unknown type", """{"a":{"dtype":"F4","shape":[2147483647,2147483647,4],"data_offsets":[0,4]}}""", 4, "at most 4 elements" },
        new object[] { "negative size", """{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}""", 4, "-1" },
        new object[] { "fractional size", """{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}""", 4, "1.5" },
        new object[] { "overlap", """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""", 4, "begin at data offset 4" },
        new object[] { "hole", """{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""", 8, "begin at data offset 0" },
        new object[] { "bytes behind", """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""", 8, "4 more bytes" },
        new object[] { "twice the same name", """{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}""", 0, "JSON" },
        new object[] { "text that is none", """{"__metadata__":{"a":1}}""", 0, "text" },
        new object[] { "half a surrogate pair as a name", """{"\ud800":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}""", 0, "JSON" },
        new object[] { "deep nesting", "{\"a\":" + new string('[', 100) + new string(']', 100) + "}", 0, "JSON" },
    ];

    [TestCaseSource(nameof(s_hostile))]
    public void Hostile_headers_are_refused(string name, string header, int dataBytes, string message)
    {
        Save(header, new byte[dataBytes]);
        Assert.That(() => Safetensors.Read(_path),
            Throws.TypeOf<DataFormatException>().With.Message.Contains(_path).And.Message.Contains("at byte").And.Message.Contains(message), name);
    }

    [TestCase(0ul), TestCase(1ul), TestCase(1000ul), TestCase(ulong.MaxValue), TestCase(100_000_001ul)]
    public void A_wrong_header_length_is_refused_before_memory_is_given(ulong length)
    {
        var file = new byte[100];
        BinaryPrimitives.WriteUInt64LittleEndian(file, length);
        File.WriteAllBytes(_path, file);
        Assert.That(() => Safetensors.Read(_path), Throws.TypeOf<DataFormatException>().With.Message.Contains("header length"));
    }

    [Test]
    public void A_64_bit_number_that_does_not_fit_is_an_error_with_its_place()
    {
        var data = new byte[16];
        BinaryPrimitives.WriteInt64LittleEndian(data.AsSpan(8), 1L << 40);
        Save("""{"a":{"dtype":"I64","shape":[2],"data_offsets":[0,16]}}""", data);
        Assert.That(() => Safetensors.Read(_path), Throws.TypeOf<DataFormatException>().With.Message.Contains((1L << 40).ToString())
            .And.Property("Offset").EqualTo(new FileInfo(_path).Length - 8));
    }

    [Test]
    public void Any_cut_and_any_changed_header_byte_is_read_or_refused_but_never_worse()
    {
        using Tensor x = Tensor.RandomNormal(new(5), 1);
        Safetensors.Write(_path, [new("weight", x)], new Dictionary<string, string> { ["k"] = "v" });
        byte[] whole = File.ReadAllBytes(_path);
        for (int length = 0; length < whole.Length; length++)
        {
            File.WriteAllBytes(_path, whole[..length]);
            Assert.That(() => Safetensors.Read(_path), Throws.TypeOf<DataFormatException>(), $"cut to {length}");
        }
        Gen.Select(Gen.Int[0, whole.Length - 21], Gen.Byte).Sample((at, value) =>
        {
            string path = $"{_path}.{Environment.CurrentManagedThreadId}";
            byte[] changed = [.. whole];
            changed[at] = value;
            File.WriteAllBytes(path, changed);
            try { foreach (Tensor tensor in Safetensors.Read(path).Values) tensor.Dispose(); }
            catch (DataFormatException) { }
        }, iter: 2000);
    }

    private void Save(string header, byte[] data)
    {
        byte[] text = Encoding.UTF8.GetBytes(header);
        var length = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, text.Length);
        File.WriteAllBytes(_path, [.. length, .. text, .. data]);
    }
}
