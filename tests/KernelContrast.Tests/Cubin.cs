using System.Buffers.Binary;
using System.Text;

namespace KernelContrast.Tests;

/// <summary>
/// Counts instructions of a cubin's kernels. A cubin is an ELF file with a section <c>.text.KERNEL</c> each; since Volta an
/// instruction is 16 bytes, its opcode the lowest 12 bits. The opcodes used here were compared with nvdisasm 12.4 for sm_80
/// and sm_90.
/// </summary>
internal static class Cubin
{
    /// <summary>HMMA: a product on the tensor cores.</summary>
    internal const int TensorCore = 0x23c;

    /// <summary>
    /// HGMMA: a product of a warpgroup on the tensor cores (wgmma), with both operands in shared memory or the first in
    /// registers. Compared with nvdisasm 12.4 for sm_90a.
    /// </summary>
    internal static int WarpgroupProducts(Dictionary<int, int> instructions) => instructions.GetValueOrDefault(0x9f0) + instructions.GetValueOrDefault(0xdf0);

    /// <summary>STL and LDL: a store to or load from local memory, where spilled registers go.</summary>
    internal const int LocalStore = 0x387, LocalLoad = 0x983;

    /// <summary>Instructions by kernel and opcode.</summary>
    internal static Dictionary<string, Dictionary<int, int>> Count(ReadOnlySpan<byte> elf)
    {
        int Number16(ReadOnlySpan<byte> at) => BinaryPrimitives.ReadUInt16LittleEndian(at);
        int Number64(ReadOnlySpan<byte> at) => checked((int)BinaryPrimitives.ReadUInt64LittleEndian(at));
        if (!elf.StartsWith("\u007fELF"u8)) throw new ArgumentException("This is no ELF file.");
        int headers = Number64(elf[0x28..]), size = Number16(elf[0x3a..]), count = Number16(elf[0x3c..]), names = Number16(elf[0x3e..]);
        int text = Number64(elf[(headers + names * size + 0x18)..]);
        var kernels = new Dictionary<string, Dictionary<int, int>>();
        for (int section = 0; section < count; section++)
        {
            ReadOnlySpan<byte> header = elf[(headers + section * size)..];
            ReadOnlySpan<byte> name = elf[(text + (int)BinaryPrimitives.ReadUInt32LittleEndian(header))..];
            name = name[..name.IndexOf((byte)0)];
            if (!name.StartsWith(".text."u8)) continue;
            var opcodes = new Dictionary<int, int>();
            ReadOnlySpan<byte> code = elf.Slice(Number64(header[0x18..]), Number64(header[0x20..]));
            for (int i = 0; i < code.Length; i += 16)
            {
                int opcode = Number16(code[i..]) & 0xfff;
                opcodes[opcode] = opcodes.GetValueOrDefault(opcode) + 1;
            }
            kernels[Encoding.ASCII.GetString(name[".text.".Length..])] = opcodes;
        }
        return kernels;
    }
}
