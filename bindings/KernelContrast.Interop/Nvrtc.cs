using System.Runtime.InteropServices;
using System.Text;

namespace KernelContrast.Interop;

/// <summary>
/// NVRTC, NVIDIA's compiler library, as far as it is used here and under its own names. Every function returns an
/// nvrtcResult, 0 for success. Call <see cref="NvrtcLibrary.Use"/> first.
/// </summary>
public static unsafe partial class Nvrtc
{
    /// <summary>NVRTC_ERROR_COMPILATION: the source has errors; the log says which.</summary>
    public const int CompilationError = 6;

    /// <summary>The CUDA version of the library.</summary>
    [LibraryImport(NvrtcLibrary.Name)] public static partial int nvrtcVersion(out int major, out int minor);

    /// <summary>Number of architectures it compiles for.</summary>
    [LibraryImport(NvrtcLibrary.Name)] public static partial int nvrtcGetNumSupportedArchs(out int count);

    /// <summary>Those architectures in rising order: 80 for sm_80.</summary>
    [LibraryImport(NvrtcLibrary.Name)] public static partial int nvrtcGetSupportedArchs(int* archs);

    /// <summary>A program of one source, and of headers by the names under which it includes them.</summary>
    [LibraryImport(NvrtcLibrary.Name)]
    public static partial int nvrtcCreateProgram(out nint program, byte* source, byte* name, int headerCount, byte** headers, byte** includeNames);

    /// <summary>Destroys a program.</summary>
    [LibraryImport(NvrtcLibrary.Name)] public static partial int nvrtcDestroyProgram(ref nint program);

    /// <summary>Compiles a program.</summary>
    [LibraryImport(NvrtcLibrary.Name)] public static partial int nvrtcCompileProgram(nint program, int optionCount, byte** options);

    /// <summary>Size of the log with its terminating zero.</summary>
    [LibraryImport(NvrtcLibrary.Name)] public static partial int nvrtcGetProgramLogSize(nint program, out nuint bytes);

    /// <summary>The compiler's log.</summary>
    [LibraryImport(NvrtcLibrary.Name)] public static partial int nvrtcGetProgramLog(nint program, byte* log);

    /// <summary>Size of the cubin; 0 when the target was a virtual architecture.</summary>
    [LibraryImport(NvrtcLibrary.Name)] public static partial int nvrtcGetCUBINSize(nint program, out nuint bytes);

    /// <summary>The cubin.</summary>
    [LibraryImport(NvrtcLibrary.Name)] public static partial int nvrtcGetCUBIN(nint program, byte* cubin);

    /// <summary>Size of the PTX with its terminating zero.</summary>
    [LibraryImport(NvrtcLibrary.Name)] public static partial int nvrtcGetPTXSize(nint program, out nuint bytes);

    /// <summary>The PTX.</summary>
    [LibraryImport(NvrtcLibrary.Name)] public static partial int nvrtcGetPTX(nint program, byte* ptx);

    /// <summary>The name of an error, owned by the library.</summary>
    [LibraryImport(NvrtcLibrary.Name)] public static partial byte* nvrtcGetErrorString(int code);

    /// <summary>Throws when <paramref name="result"/> is not 0.</summary>
    /// <exception cref="NvrtcException">With the error's name.</exception>
    public static void Check(int result, string call)
    {
        if (result != 0) throw new NvrtcException($"{call}: {Marshal.PtrToStringUTF8((nint)nvrtcGetErrorString(result))}.");
    }

    /// <summary>The architectures the library compiles for, rising: 80 for sm_80.</summary>
    public static int[] SupportedArchitectures()
    {
        Check(nvrtcGetNumSupportedArchs(out int count), nameof(nvrtcGetNumSupportedArchs));
        int[] archs = new int[count];
        fixed (int* p = archs) Check(nvrtcGetSupportedArchs(p), nameof(nvrtcGetSupportedArchs));
        return archs;
    }

    /// <summary>Compiles a source that includes nothing but the headers given.</summary>
    /// <param name="name">What the source is called in messages.</param>
    /// <param name="source">CUDA C++.</param>
    /// <param name="headers">Headers by the names under which they are included.</param>
    /// <param name="options">As NVRTC's documentation has them; --gpu-architecture=sm_80 gives a cubin, compute_80 PTX.</param>
    /// <param name="log">What the compiler said.</param>
    /// <returns>The cubin, or zero-terminated PTX.</returns>
    /// <exception cref="NvrtcException">It does not compile; the message holds the log.</exception>
    public static byte[] Compile(string name, string source, IReadOnlyList<(string Name, string Text)> headers, IReadOnlyList<string> options, out string log)
    {
        using var text = new Utf8Strings([source, name, .. headers.Select(h => h.Text), .. headers.Select(h => h.Name), .. options]);
        Check(nvrtcCreateProgram(out nint program, text[0], text[1], headers.Count, text.From(2), text.From(2 + headers.Count)), nameof(nvrtcCreateProgram));
        try
        {
            int result = nvrtcCompileProgram(program, options.Count, text.From(2 + 2 * headers.Count));
            log = "";
            if (nvrtcGetProgramLogSize(program, out nuint bytes) == 0 && bytes > 1)
            {
                byte[] buffer = new byte[bytes];
                fixed (byte* p = buffer) Check(nvrtcGetProgramLog(program, p), nameof(nvrtcGetProgramLog));
                log = Encoding.UTF8.GetString(buffer.AsSpan(0, (int)bytes - 1)).Trim();
            }
            if (result != 0)
                throw new NvrtcException($"{name} does not compile ({Marshal.PtrToStringUTF8((nint)nvrtcGetErrorString(result))}, options {string.Join(' ', options)}):{Environment.NewLine}{log}");
            Check(nvrtcGetCUBINSize(program, out nuint size), nameof(nvrtcGetCUBINSize));
            bool isCubin = size != 0;
            if (!isCubin) Check(nvrtcGetPTXSize(program, out size), nameof(nvrtcGetPTXSize));
            byte[] image = new byte[size];
            fixed (byte* p = image) Check(isCubin ? nvrtcGetCUBIN(program, p) : nvrtcGetPTX(program, p), isCubin ? nameof(nvrtcGetCUBIN) : nameof(nvrtcGetPTX));
            return image;
        }
        finally { _ = nvrtcDestroyProgram(ref program); }
    }

    /// <summary>Zero-terminated strings in native memory, and a table of their addresses.</summary>
    private sealed class Utf8Strings : IDisposable
    {
        private readonly byte** _table;
        private readonly int _count;

        internal Utf8Strings(string[] strings)
        {
            _table = (byte**)NativeMemory.AllocZeroed((nuint)strings.Length, (nuint)sizeof(nint));
            for (_count = 0; _count < strings.Length; _count++) _table[_count] = (byte*)Marshal.StringToCoTaskMemUTF8(strings[_count]);
        }

        internal byte* this[int index] => _table[index];

        internal byte** From(int index) => _table + index;

        public void Dispose()
        {
            for (int i = 0; i < _count; i++) Marshal.FreeCoTaskMem((nint)_table[i]);
            NativeMemory.Free(_table);
        }
    }
}

/// <summary>NVRTC refused a call or a source; the message holds its log.</summary>
public sealed class NvrtcException(string message) : Exception(message);
