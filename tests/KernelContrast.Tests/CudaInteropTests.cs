using KernelContrast.Devices;
using KernelContrast.Interop;
using KernelContrast.Losses;

namespace KernelContrast.Tests;

/// <summary>What other CUDA libraries of a process see: streams, events, contexts and addresses, in and out.</summary>
[TestFixture]
internal sealed class CudaInteropTests
{
    private static CudaDevice Cuda => TestDevice.Cuda;

    [Test]
    public void Streams_and_events_are_made_waited_for_and_destroyed()
    {
        var stream = new CudaStream(Cuda);
        nint handle = stream.Handle;
        Assert.That(handle, Is.Not.Zero.And.Not.EqualTo(Cuda.Stream));
        using var early = new CudaEvent(Cuda, timed: true);
        using var late = new CudaEvent(Cuda, timed: true);
        Assert.That(early.IsReached, Is.True, "before it was recorded");
        early.Record(stream);
        Thread.Sleep(20);
        late.Record(stream);
        Cuda.MainStream.WaitFor(late);
        Cuda.MainStream.WaitFor(stream);
        stream.WaitFor(Cuda.MainStream);
        late.Synchronize();
        stream.Synchronize();
        Assert.That((stream.IsIdle, early.IsReached), Is.EqualTo((true, true)));
        if (TestDevice.IsEmulated) Assert.That(late.MillisecondsSince(early), Is.InRange(19, 2000));
        using var order = new CudaEvent(Cuda);
        order.Record(stream);
        Assert.That(() => order.MillisecondsSince(early), Throws.TypeOf<CudaException>(), "made without timing");
        stream.Dispose();
        stream.Dispose();
        Assert.That(() => stream.Handle, Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => stream.WaitFor(order), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(CudaDriver.cuStreamDestroy_v2(handle), Is.Not.Zero, "it was destroyed");
    }

    [Test]
    public void A_wrapped_stream_stays_its_owners()
    {
        _ = Cuda;
        Cuda.MakeCurrent();
        CudaException.Check(CudaDriver.cuStreamCreate(out nint foreign, 0));
        using (CudaStream wrapped = CudaStream.Wrap(Cuda, foreign))
        {
            Assert.That(wrapped.Handle, Is.EqualTo(foreign));
            Cuda.MainStream.WaitFor(wrapped);
            wrapped.WaitFor(Cuda.MainStream);
        }
        Assert.That(CudaDriver.cuStreamQuery(foreign), Is.Zero, "it is still there");
        CudaException.Check(CudaDriver.cuStreamDestroy_v2(foreign));
        using CudaStream legacy = CudaStream.Wrap(Cuda, 0), unknown = CudaStream.Wrap(Cuda, 12345);
        legacy.Synchronize();
        if (TestDevice.IsEmulated) Assert.That(() => unknown.Synchronize(), Throws.TypeOf<CudaException>().With.Message.Contains("unknown stream"));
    }

    [TestCase("cpu"), TestCase("cuda")]
    public void Statistics_count_requests_and_what_the_driver_had_to_give(string name)
    {
        Device device = name == "cpu" ? Device.Cpu : Cuda;
        device.ReleaseUnusedMemory();
        device.ResetPeakMemory();
        MemoryStatistics before = device.Memory;
        for (int i = 0; i < 3; i++) Tensor.Zeros(new(1 << 20), device).Dispose();
        MemoryStatistics after = device.Memory;
        Assert.That((after.Requests - before.Requests, after.Allocations - before.Allocations), Is.EqualTo((3, 1)));
        Assert.That(after.LiveBytes, Is.EqualTo(before.LiveBytes));
        Assert.That(after.PooledBytes - before.PooledBytes, Is.InRange(4 << 20, 5 << 20));
        Assert.That(after.PeakLiveBytes - before.LiveBytes, Is.InRange(4 << 20, 5 << 20));
    }

    [Test]
    public void Foreign_memory_is_read_and_written_in_place_and_never_freed()
    {
        using var foreign = new ForeignMemory(12 * sizeof(float));
        nint live = (nint)Cuda.Memory.LiveBytes;
        using (Tensor x = Cuda.Wrap(foreign.Address, new(3, 4)))
        {
            Assert.That((nint)Cuda.Memory.LiveBytes, Is.EqualTo(live), "no memory of ours");
            Assert.That(Cuda.AddressOf(x), Is.EqualTo(foreign.Address));
            Assert.That(x.Buffer.IsExclusive, Is.False, "so that no op overwrites it or takes it for its own");
            using Tensor ones = Tensor.Full(new(3, 4), 1.5f, Cuda);
            x.CopyFrom(ones);
            using Tensor y = Functional.Relu(x);
            Assert.That(y.ToArray(), Is.All.EqualTo(1.5f));
            Assert.That(foreign.Read(), Is.All.EqualTo(1.5f));
        }
        Assert.That(foreign.Read(), Is.All.EqualTo(1.5f), "still allocated");
    }

    [Test]
    public void A_gradient_that_comes_in_stays_as_its_owner_left_it()
    {
        using var foreign = new ForeignMemory(8 * sizeof(float));
        using var scope = new TensorScope();
        Tensor x = Tensor.Full(new(8), 1, Cuda), upstream = Cuda.Wrap(foreign.Address, new(8));
        x.RequiresGrad = true;
        upstream.CopyFrom(Tensor.Full(new(8), 2, Cuda));
        x.Backward(upstream);
        x.Backward(upstream);
        Assert.That(x.Grad!.ToArray(), Is.All.EqualTo(4));
        Assert.That(foreign.Read(), Is.All.EqualTo(2));
    }

    [Test]
    public void Addresses_and_types_that_cannot_be_are_refused()
    {
        Shape shape = new(3, 4);
        Assert.That(() => Cuda.Wrap(0, shape), Throws.ArgumentException.With.Message.Contains("null").And.Message.Contains("[3, 4]"));
        Assert.That(() => Cuda.Wrap(4096 + 4, shape), Throws.ArgumentException.With.Message.Contains("1004").And.Message.Contains("multiple of 16"));
        Assert.That(() => Cuda.Wrap(4096, shape, (DType)17), Throws.ArgumentException.With.Message.Contains("17").And.Message.Contains("BFloat16"));
        using Tensor onCpu = Tensor.Zeros(shape), whole = Tensor.Zeros(shape, Cuda, DType.Int32);
        Assert.That(() => Cuda.AddressOf(onCpu), Throws.ArgumentException.With.Message.Contains("cpu").And.Message.Contains(Cuda.Name));
        Assert.That(() => Cuda.AddressOf(whole), Throws.ArgumentException.With.Message.Contains("Int32").And.Message.Contains("Float32"));
        Assert.That(Cuda.AddressOf(whole, DType.Int32), Is.EqualTo(whole.Pointer));
    }

    [Test]
    public void A_loss_call_names_the_address_that_cannot_be()
    {
        Refused(c => c with { Embeddings = new(4098, 8) }, "Embeddings are at 1002", "multiple of 4");
        Refused(c => c with { Embeddings = new(4096, 8, DType.Int32) }, "Embeddings are of Int32");
        Refused(c => c with { Loss = 4097 }, "Loss are at 1001");
        Refused(c => c with { Labels = 4099 }, "Labels");
        Refused(c => c with { Workspace = 4096 + 32 }, "Workspace", "multiple of 256");
        Refused(c => c with { Saved = 0 }, "Saved");

        static void Refused(Func<LossCall, LossCall> change, params string[] words)
        {
            var good = new LossCall(LossKind.NtXent, 4, 4, 8, 0.5f) { Embeddings = new(4096, 8), Loss = 4096, Saved = 4096, Workspace = 4096 };
            string message = Assert.Throws<ArgumentException>(() => change(good).Forward(Cuda))!.Message;
            foreach (string word in words) Assert.That(message, Does.Contain(word));
        }
    }

    /// <summary>A foreign program's own memory and stream: once everything ran once, a step allocates nothing, here or there, and waits for nothing.</summary>
    [Test]
    public void A_step_on_foreign_memory_and_stream_allocates_nothing_and_waits_for_nothing()
    {
        CudaDevice cuda = Cuda;
        const int Rows = 8, Dim = 16;
        cuda.MakeCurrent();
        CudaException.Check(CudaDriver.cuStreamCreate(out nint foreign, CudaDriver.StreamNonBlocking));
        using var theirs = CudaStream.Wrap(cuda, foreign);
        var call = new LossCall(LossKind.NtXent, Rows, Rows, Dim, 0.5f) { Stream = foreign };
        using var embeddings = new ForeignMemory(Rows * Dim * 4);
        using var gradient = new ForeignMemory(Rows * Dim * 4);
        using var scalars = new ForeignMemory(2 * 256);
        using var saved = new ForeignMemory(call.SavedBytes(cuda));
        using var workspace = new ForeignMemory(call.WorkspaceBytes(cuda));
        using Tensor x = cuda.Wrap(embeddings.Address, new(Rows, Dim)), values = Tensor.RandomNormal(new(Rows, Dim), 1, cuda), one = Tensor.Full(new(), 1, cuda);
        call.Embeddings = new(embeddings.Address, Dim);
        call.GradEmbeddings = new(gradient.Address, Dim);
        (call.Loss, call.GradLoss) = (scalars.Address, cuda.AddressOf(one));
        (call.Saved, call.Workspace) = (saved.Address, workspace.Address);
        for (int i = 0; i < 30; i++) Step(); // until the JIT compiler is done with it
        (long waits, MemoryStatistics memory) = (cuda.Waits, cuda.Memory);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 10; i++) Step();
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.That(allocated, Is.Zero);
        Assert.That((cuda.Waits, cuda.Memory), Is.EqualTo((waits, memory)));

        theirs.Synchronize();
        using Tensor leaf = values.Detach();
        leaf.RequiresGrad = true;
        using Tensor loss = NtXent.Loss(leaf, temperature: 0.5f);
        loss.Backward();
        Assert.That(scalars.Read()[0], Is.EqualTo(loss.Item()));
        Assert.That(gradient.Read(), Is.EqualTo(leaf.Grad!.ToArray()));
        CudaException.Check(CudaDriver.cuStreamDestroy_v2(foreign));

        void Step()
        {
            x.CopyFrom(values);               // ours writes
            theirs.WaitFor(cuda.MainStream);  // before theirs reads
            call.Forward(cuda);
            call.Backward(cuda);
            cuda.MainStream.WaitFor(theirs);  // before ours writes again
        }
    }

    [Test]
    public void A_foreign_context_is_worked_in_and_left_as_it_was()
    {
        Cuda.MakeCurrent();
        CudaException.Check(CudaDriver.cuCtxCreate_v2(out nint context, 0, 0));
        CudaException.Check(CudaDriver.cuStreamCreate(out nint stream, 0));
        CudaDevice device = CudaDevice.FromContext(context, stream);
        Assert.That((device.Context, device.Stream), Is.EqualTo((context, stream)));
        Assert.That(device.Name, Does.Contain($"context {context:x}"));
        Assert.That(CudaDriver.cuCtxGetCurrent(out nint current), Is.Zero);
        Assert.That(current, Is.EqualTo(context));
        using (Tensor a = Tensor.Full(new(100), 2, device), b = Functional.Mul(a, a))
        {
            Assert.That(b.ToArray(), Is.All.EqualTo(4));
            using Tensor elsewhere = Tensor.Full(new(100), 2, Cuda);
            Assert.That(() => Functional.Mul(a, elsewhere), Throws.ArgumentException.With.Message.Contains(device.Name));
        }
        Tensor late = Tensor.Zeros(new(10), device);
        device.Dispose();
        device.Dispose();
        Assert.That(device.Memory.PooledBytes, Is.Zero);
        Assert.That(() => Tensor.Zeros(new(4), device), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(CudaDriver.cuCtxSetCurrent(context), Is.Zero);
        Assert.That(CudaDriver.cuStreamQuery(stream), Is.Zero, "the stream is still its owner's");
        CudaException.Check(CudaDriver.cuStreamDestroy_v2(stream));
        CudaException.Check(CudaDriver.cuCtxDestroy_v2(context));
        late.Dispose();
    }

    [Test]
    public void The_primary_context_gives_the_devices_own()
    {
        Assert.That(CudaDevice.FromContext(Cuda.Context), Is.SameAs(Cuda));
        Cuda.Dispose();
        using Tensor x = Tensor.Full(new(4), 1, Cuda);
        Assert.That(x.ToArray(), Is.All.EqualTo(1), "a device of the process is not ended");
        using var stream = new CudaStream(Cuda);
        using CudaDevice other = CudaDevice.FromContext(Cuda.Context, stream.Handle);
        Assert.That(other, Is.Not.SameAs(Cuda));
        Assert.That(other.Stream, Is.EqualTo(stream.Handle));
        Assert.That(() => CudaDevice.FromContext(0), Throws.ArgumentException.With.Message.Contains("null"));
        if (TestDevice.IsEmulated) Assert.That(() => CudaDevice.FromContext(4711), Throws.TypeOf<CudaException>());
        Cuda.MakeCurrent();
    }

    /// <summary>Memory as another library allocates it.</summary>
    private sealed class ForeignMemory : IDisposable
    {
        private readonly ulong _address;
        private readonly int _floats;

        internal ForeignMemory(long bytes)
        {
            Cuda.MakeCurrent();
            CudaException.Check(CudaDriver.cuMemAlloc_v2(out _address, (nuint)bytes));
            _floats = (int)(bytes / sizeof(float));
        }

        internal nint Address => (nint)_address;

        internal unsafe float[] Read()
        {
            Cuda.Synchronize();
            var values = new float[_floats];
            fixed (float* to = values)
            {
                CudaException.Check(CudaDriver.cuMemcpyDtoHAsync_v2(to, _address, (nuint)(values.Length * sizeof(float)), Cuda.Stream));
                Cuda.Synchronize();
            }
            return values;
        }

        public void Dispose()
        {
            Cuda.MakeCurrent();
            CudaException.Check(CudaDriver.cuMemFree_v2(_address));
        }
    }
}
