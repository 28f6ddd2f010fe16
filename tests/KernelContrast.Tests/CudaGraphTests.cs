using KernelContrast.Devices;
using KernelContrast.Interop;
using KernelContrast.Losses;
using KernelContrast.Optim;

namespace KernelContrast.Tests;

/// <summary>Captured steps. The emulated driver captures only where a test allows it.</summary>
[TestFixture]
internal sealed class CudaGraphTests
{
    private static CudaDevice Cuda => TestDevice.Cuda;

    private static void Allow(bool allow)
    {
        _ = Cuda;
        if (TestDevice.IsEmulated) CudaException.Check(CudaDriver.kceRecordGraphs(allow ? 1 : 0));
    }

    [SetUp]
    public void AllowGraphs() => Allow(true);

    [TearDown]
    public void RefuseGraphs() => Allow(false);

    [Test]
    public void The_emulated_driver_refuses_in_one_sentence_and_leaves_the_step_alone()
    {
        Emulated.Only();
        Allow(false);
        int calls = 0;
        Assert.That(() => Cuda.Capture(() => calls++), Throws.TypeOf<NotSupportedException>().With.Message.Contains("cuda-emulated").And.Message.Contains("--device cuda"));
        Assert.That(calls, Is.Zero);
        using Tensor x = Tensor.Full(new(3), 1, Cuda);
        Assert.That(x.ToArray(), Is.All.EqualTo(1));
    }

    /// <summary>Forward, loss, backward and optimizer: parameters after replays are those after as many calls, to the bit.</summary>
    [TestCase("sgd"), TestCase("lars")]
    public void Replays_train_as_calls_do(string kind)
    {
        float[] called, replayed;
        using (var trained = new Training(kind))
        {
            for (int i = 0; i < 6; i++) trained.Step();
            called = trained.Parameters();
        }
        using var other = new Training(kind); // takes the same sizes from the pool
        other.Step();
        long live = Cuda.Memory.LiveBytes;
        using (var trained = new Training(kind))
        {
            using CudaGraph graph = Cuda.Capture(trained.Step);
            Assert.That(trained.Calls, Is.EqualTo(2), "each call takes effect once");
            Assert.That(graph.NodeCount, Is.GreaterThan(10));
            for (int i = 2; i < 6; i++)
            {
                graph.Replay();
                other.Step();
            }
            replayed = trained.Parameters();
            Assert.That(trained.Calls, Is.EqualTo(2));
        }
        Assert.That(replayed, Is.EqualTo(called));
        Assert.That(Cuda.Memory.LiveBytes, Is.EqualTo(live), "all memory is back");
    }

    [Test]
    public void A_step_may_be_called_again_between_replays()
    {
        using Training mixed = new("sgd"), called = new("sgd");
        for (int i = 0; i < 8; i++) called.Step();
        using CudaGraph graph = Cuda.Capture(mixed.Step);
        mixed.Step();
        mixed.Step();
        graph.Replay();
        mixed.Step();
        graph.Replay();
        graph.Replay();
        Assert.That(mixed.Parameters(), Is.EqualTo(called.Parameters()));
    }

    [Test]
    public void An_optimizers_table_is_sent_again_after_a_replay_sent_its_own()
    {
        using Tensor p = Tensor.Zeros(new(3), Cuda), one = Tensor.Full(new(3), 1, Cuda), hundred = Tensor.Full(new(3), 100, Cuda);
        p.RequiresGrad = true;
        using var sgd = new Sgd([("p", p)], learningRate: 1);
        void Step(Tensor gradient)
        {
            p.ClearGrad();
            p.Backward(gradient);
            sgd.Step();
        }
        using CudaGraph graph = Cuda.Capture(() => Step(one));
        Step(hundred);
        graph.Replay();
        sgd.Step(); // the gradient is still a hundred, where it was
        Assert.That(p.ToArray(), Is.All.EqualTo(-203));
    }

    [Test]
    public void What_a_captured_call_read_and_gave_back_is_read_by_each_replay()
    {
        Tensor state = Tensor.Full(new(1000), 2, Cuda);
        using (CudaGraph graph = Cuda.Capture(() =>
        {
            Tensor next = Functional.Mul(state, state);
            state.Dispose();
            state = next;
        }))
        {
            for (int i = 0; i < 3; i++)
            {
                using Tensor one = Tensor.Full(new(1000), float.NaN, Cuda), two = Tensor.Full(new(1000), float.NaN, Cuda);
                graph.Replay();
                Assert.That(state.ToArray(), Is.All.EqualTo(16));
            }
        }
        state.Dispose();
    }

    [Test]
    public void New_data_go_in_by_copies_and_results_come_out()
    {
        using Tensor x = Tensor.Full(new(4), 1, Cuda), three = Tensor.Full(new(4), 3, Cuda);
        Tensor? y = null;
        using CudaGraph graph = Cuda.Capture(() =>
        {
            y?.Dispose();
            using Tensor constant = Tensor.Full(new(4), 10, Cuda); // sent from the host by each replay
            y = Functional.Mul(x, constant);
        });
        using Tensor result = y!;
        Assert.That(result.ToArray(), Is.All.EqualTo(10));
        x.CopyFrom(three);
        graph.Replay();
        Assert.That(result.ToArray(), Is.All.EqualTo(30));
        long before = GC.GetAllocatedBytesForCurrentThread();
        if (!TestDevice.IsEmulated) graph.Replay(); // the emulated driver's own memory is not managed either
        else for (int i = 0; i < 3; i++) graph.Replay();
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
    }

    [Test]
    public void Memory_of_a_graph_is_its_own_until_it_is_disposed()
    {
        using var outside = Tensor.Full(new(1000), 1, Cuda);
        Tensor? kept = null;
        CudaGraph graph = Cuda.Capture(() =>
        {
            kept?.Dispose();
            using Tensor between = Functional.Mul(outside, outside);
            kept = Functional.Add(between, outside);
        });
        long live = Cuda.Memory.LiveBytes;
        nint mine = kept!.Pointer;
        for (int i = 0; i < 20; i++)
        {
            using Tensor other = Tensor.Full(new(1000), float.NaN, Cuda);
            Assert.That(other.Pointer, Is.Not.EqualTo(mine));
        }
        Cuda.ReleaseUnusedMemory();
        graph.Replay();
        Assert.That(kept.ToArray(), Is.All.EqualTo(2));
        graph.Dispose();
        graph.Dispose();
        Assert.That(live - Cuda.Memory.LiveBytes, Is.GreaterThanOrEqualTo(4000), "but what a tensor still holds");
        Assert.That(kept.ToArray(), Is.All.EqualTo(2));
        kept.Dispose();
        Assert.That(() => graph.Replay(), Throws.TypeOf<ObjectDisposedException>());
    }

    [Test]
    public void A_step_that_reads_or_fails_is_refused_and_the_device_goes_on()
    {
        using Tensor x = Tensor.Full(new(4), 2, Cuda);
        long live = Cuda.Memory.LiveBytes;
        int calls = 0;
        Assert.That(() => Cuda.Capture(() => { using Tensor y = Functional.Mul(x, x); _ = y.ToArray(); }),
            Throws.InvalidOperationException.With.Message.Contains("ToArray").And.Message.Contains("after Replay"));
        Assert.That(() => Cuda.Capture(Cuda.Synchronize), Throws.InvalidOperationException.With.Message.Contains("wait"));
        Assert.That(() => Cuda.Capture(() => { if (++calls == 2) throw new FormatException("mine"); }), Throws.TypeOf<FormatException>());
        Assert.That(() => Cuda.Capture(() => Cuda.Capture(() => { if (++calls > 4) Assert.Fail("captured within a capture"); })), Throws.InvalidOperationException);
        Assert.That(Cuda.Memory.LiveBytes, Is.EqualTo(live));
        using CudaGraph graph = Cuda.Capture(() => { using Tensor y = Functional.Mul(x, x); });
        using Tensor z = Functional.Mul(x, x);
        Assert.That(z.ToArray(), Is.All.EqualTo(4));
    }

    /// <summary>A linear encoder and NT-Xent.</summary>
    private sealed class Training : IDisposable
    {
        private readonly Tensor _x = Tensor.RandomNormal(new(8, 16), 1, Cuda), _weight = Tensor.RandomNormal(new(12, 16), 2, Cuda), _bias = Tensor.RandomNormal(new(12), 3, Cuda);
        private readonly Optimizer _optimizer;

        internal Training(string kind)
        {
            _weight.RequiresGrad = _bias.RequiresGrad = true;
            (string, Tensor)[] parameters = [("weight", _weight), ("bias", _bias)];
            _optimizer = kind == "sgd" ? new Sgd(parameters, 0.1, momentum: 0.9) : new Lars(parameters, 0.1);
        }

        internal int Calls { get; private set; }

        internal void Step()
        {
            Calls++;
            using var scope = new TensorScope();
            _optimizer.ClearGradients();
            NtXent.Loss(Functional.Linear(_x, _weight, _bias), temperature: 0.5f).Backward();
            _optimizer.Step();
        }

        internal float[] Parameters() => [.. _weight.ToArray(), .. _bias.ToArray()];

        public void Dispose()
        {
            _optimizer.Dispose();
            foreach (Tensor tensor in new[] { _x, _weight, _bias }) tensor.Dispose();
        }
    }
}
