using System.Collections.Concurrent;
using KernelContrast.Interop;

namespace KernelContrast.Devices;

/// <summary>
/// Convolutions of cuDNN on one device. The algorithm of each is chosen once, by the library's heuristic, among those that
/// give the same bits each time, and kept.
/// </summary>
internal sealed unsafe class CudnnConvolutions : IDisposable
{
    private const long MostWorkspaceBytes = 256 << 20;
    private const int MostAlgorithms = 16;

    /// <summary>What of x, w and y is computed from the other two.</summary>
    internal enum Pass
    {
        Forward,
        BackwardInput,
        BackwardWeight,
    }

    /// <summary>Sizes of at least 1, of one type: float32, or bfloat16 throughout. The number of y's rows and columns follows.</summary>
    internal readonly record struct Convolution(Pass Pass, DType Type, bool Tf32, int Images, int Channels, int Height, int Width, int Filters, int KernelHeight, int KernelWidth,
        int Stride, int Padding, int OutHeight, int OutWidth);

    private readonly CudaDevice _device;
    private readonly CudnnObject _handle;
    private readonly ConcurrentDictionary<Convolution, Plan?> _plans = new();

    private CudnnConvolutions(CudaDevice device)
    {
        _device = device;
        _handle = CudnnObject.Handle(device.Stream);
    }

    /// <summary>Null when the library is not there or does not work with this driver; then says why.</summary>
    internal static CudnnConvolutions? Open(CudaDevice device, out string description)
    {
        if (!VendorLibrary.Cudnn.TryUse(int.MaxValue, out description)) return null;
        device.MakeCurrent();
        nuint version = Cudnn.cudnnGetVersion(), unit = version >= 10000 ? 10000u : 1000u;
        description = $"cuDNN {version / unit}.{version % unit / 100}.{version % 100} ({VendorLibrary.Cudnn.Path})";
        try { return new(device); }
        catch (VendorException e)
        {
            description += $", which does not work here: {e.Message}";
            return null;
        }
    }

    /// <summary>How many convolutions it computed.</summary>
    internal long Count { get; private set; }

    /// <summary>
    /// One pass of y = x ⋆ w on dense tensors with channels innermost. False when the library has no deterministic algorithm,
    /// or an address is not a multiple of 16. Allocates nothing but at a convolution's first time.
    /// </summary>
    internal bool TryRun(in Convolution convolution, nint x, nint w, nint y)
    {
        if (((x | w | y) & 15) != 0) return false;
        _device.MakeCurrent();
        if (!_plans.TryGetValue(convolution, out Plan? plan)) plan = _plans.GetOrAdd(convolution, Choose(convolution));
        if (plan is null) return false;
        float one = 1, zero = 0;
        nint handle = _handle.DangerousGetHandle();
        lock (_handle)
        {
            long reserved = 0;
            nint workspace = plan.WorkspaceBytes == 0 ? 0 : _device.Pool.Rent(plan.WorkspaceBytes, out reserved);
            try
            {
                Cudnn.Check(convolution.Pass switch
                {
                    Pass.Forward => Cudnn.cudnnConvolutionForward(handle, &one, plan.X, (ulong)x, plan.W, (ulong)w, plan.Conv, plan.Algorithm, (ulong)workspace, (nuint)plan.WorkspaceBytes,
                        &zero, plan.Y, (ulong)y),
                    Pass.BackwardInput => Cudnn.cudnnConvolutionBackwardData(handle, &one, plan.W, (ulong)w, plan.Y, (ulong)y, plan.Conv, plan.Algorithm, (ulong)workspace,
                        (nuint)plan.WorkspaceBytes, &zero, plan.X, (ulong)x),
                    _ => Cudnn.cudnnConvolutionBackwardFilter(handle, &one, plan.X, (ulong)x, plan.Y, (ulong)y, plan.Conv, plan.Algorithm, (ulong)workspace, (nuint)plan.WorkspaceBytes,
                        &zero, plan.W, (ulong)w),
                }, NameOf(convolution.Pass));
            }
            finally { if (workspace != 0) _device.Pool.Return(workspace, plan.WorkspaceBytes, reserved); }
            Count++;
        }
        return true;
    }

    /// <summary>Destroys what the library made.</summary>
    public void Dispose()
    {
        foreach (Plan? plan in _plans.Values) plan?.Dispose();
        _handle.Dispose();
    }

    private static string NameOf(Pass pass) => pass switch
    {
        Pass.Forward => nameof(Cudnn.cudnnConvolutionForward),
        Pass.BackwardInput => nameof(Cudnn.cudnnConvolutionBackwardData),
        _ => nameof(Cudnn.cudnnConvolutionBackwardFilter),
    };

    /// <summary>The algorithm for a convolution; null when there is none.</summary>
    private Plan? Choose(in Convolution c)
    {
        int type = c.Type == DType.BFloat16 ? Cudnn.BFloat16 : Cudnn.Float32;
        int math = c.Type == DType.BFloat16 ? Cudnn.TensorOpMath : c.Tf32 ? Cudnn.DefaultMath : Cudnn.FmaMath;
        var plan = new Plan(CudnnObject.Tensor(type, c.Images, c.Channels, c.Height, c.Width), CudnnObject.Filter(type, c.Filters, c.Channels, c.KernelHeight, c.KernelWidth),
            CudnnObject.Tensor(type, c.Images, c.Filters, c.OutHeight, c.OutWidth), CudnnObject.Convolution(c.Padding, c.Stride, math));
        nint handle = _handle.DangerousGetHandle();
        CudnnAlgorithm* choices = stackalloc CudnnAlgorithm[MostAlgorithms];
        int count;
        int status = c.Pass switch
        {
            Pass.Forward => Cudnn.cudnnGetConvolutionForwardAlgorithm_v7(handle, plan.X, plan.W, plan.Conv, plan.Y, MostAlgorithms, out count, choices),
            Pass.BackwardInput => Cudnn.cudnnGetConvolutionBackwardDataAlgorithm_v7(handle, plan.W, plan.Y, plan.Conv, plan.X, MostAlgorithms, out count, choices),
            _ => Cudnn.cudnnGetConvolutionBackwardFilterAlgorithm_v7(handle, plan.X, plan.Y, plan.Conv, plan.W, MostAlgorithms, out count, choices),
        };
        if (!Cudnn.IsNotSupported(status)) Cudnn.Check(status, "choosing the algorithm of " + NameOf(c.Pass));
        for (int i = 0; status == 0 && i < count; i++)
        {
            if (choices[i].Status != 0 || choices[i].Determinism != Cudnn.Deterministic) continue;
            // In float32 with the math that was asked for, whatever it was guessed with; else as it was.
            if (math != Cudnn.FmaMath) Cudnn.Check(Cudnn.cudnnSetConvolutionMathType(plan.Conv, choices[i].Math));
            if (WorkspaceOf(c.Pass, plan, choices[i].Algorithm, out nuint bytes) != 0 || bytes > MostWorkspaceBytes) continue;
            (plan.Algorithm, plan.WorkspaceBytes) = (choices[i].Algorithm, (long)bytes);
            return plan;
        }
        plan.Dispose();
        return null;
    }

    private int WorkspaceOf(Pass pass, Plan plan, int algorithm, out nuint bytes)
    {
        nint handle = _handle.DangerousGetHandle();
        return pass switch
        {
            Pass.Forward => Cudnn.cudnnGetConvolutionForwardWorkspaceSize(handle, plan.X, plan.W, plan.Conv, plan.Y, algorithm, out bytes),
            Pass.BackwardInput => Cudnn.cudnnGetConvolutionBackwardDataWorkspaceSize(handle, plan.W, plan.Y, plan.Conv, plan.X, algorithm, out bytes),
            _ => Cudnn.cudnnGetConvolutionBackwardFilterWorkspaceSize(handle, plan.X, plan.Y, plan.Conv, plan.W, algorithm, out bytes),
        };
    }

    private sealed class Plan(CudnnObject x, CudnnObject w, CudnnObject y, CudnnObject conv) : IDisposable
    {
        private readonly CudnnObject[] _owned = [x, w, y, conv];

        internal int Algorithm;
        internal long WorkspaceBytes;

        internal nint X => _owned[0].DangerousGetHandle();
        internal nint W => _owned[1].DangerousGetHandle();
        internal nint Y => _owned[2].DangerousGetHandle();
        internal nint Conv => _owned[3].DangerousGetHandle();

        public void Dispose()
        {
            foreach (CudnnObject owned in _owned) owned.Dispose();
        }
    }
}
