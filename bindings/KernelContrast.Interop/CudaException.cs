using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KernelContrast.Interop;

/// <summary>A call of the driver API failed.</summary>
public sealed class CudaException : Exception
{
    private CudaException(int code, string message) : base(message) => Code = code;

    /// <summary>The CUresult.</summary>
    public int Code { get; }

    /// <summary>Throws when <paramref name="result"/> is not 0.</summary>
    /// <param name="result">What a driver function returned.</param>
    /// <param name="call">The call's text.</param>
    /// <exception cref="CudaException">The message holds the call, the error's name and its description.</exception>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Check(int result, [CallerArgumentExpression(nameof(result))] string call = "")
    {
        if (result != 0) Throw(result, call);
    }

    /// <summary>Throws for an error of a named piece of work, a kernel for instance.</summary>
    [DoesNotReturn]
    public static unsafe void Throw(int result, string work)
    {
        string name = CudaDriver.cuGetErrorName(result, out byte* text) == 0 ? Marshal.PtrToStringUTF8((nint)text)! : $"CUDA error {result}";
        string description = CudaDriver.cuGetErrorString(result, out text) == 0 ? Marshal.PtrToStringUTF8((nint)text)! : "unknown error";
        int parenthesis = work.IndexOf('(');
        throw new CudaException(result, $"{(parenthesis > 0 ? work[(work.LastIndexOf('.', parenthesis) + 1)..parenthesis] : work)}: {name}, {description}{EmulatorDetail()}.");
    }

    /// <summary>": " and <see cref="CudaLibrary.EmulatorDetail()"/>, where that says something.</summary>
    internal static string EmulatorDetail() => CudaLibrary.EmulatorDetail() is { Length: > 0 } detail ? $": {detail}" : "";
}
