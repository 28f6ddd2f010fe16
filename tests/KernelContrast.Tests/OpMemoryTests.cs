namespace KernelContrast.Tests;

/// <summary>What a long run holds, and that it computes the same again.</summary>
[TestFixture]
internal sealed class OpMemoryTests
{
    private const long MiB = 1 << 20;

    [Test]
    public void A_thousand_steps_of_a_small_graph_hold_no_more_than_one()
    {
        // what other tests forgot is collected now, not halfway
        GC.Collect();
        GC.WaitForPendingFinalizers();
        long before = Device.Cpu.Memory.LiveBytes;
        Tensor[] parameters = Parameters();
        Tensor labels = Tensor.From<int>([.. Enumerable.Range(0, 32).Select(i => i % 10)], new(32));
        long betweenSteps = 0, resident = 0;
        for (int step = 0; step < 1000; step++)
        {
            Step(parameters, labels, (ulong)step);
            foreach (Tensor p in parameters) p.ClearGrad();
            if (step == 0) betweenSteps = Device.Cpu.Memory.LiveBytes;
            else if (Device.Cpu.Memory.LiveBytes != betweenSteps)
                Assert.Fail($"step {step}: {Device.Cpu.Memory.LiveBytes} bytes are alive, {betweenSteps} after the first.");
            if (step == 200) resident = Resident();
        }
        Assert.That(Resident() - resident, Is.LessThan(16 * MiB));
        foreach (Tensor p in parameters) p.Dispose();
        labels.Dispose();
        Assert.That(Device.Cpu.Memory.LiveBytes, Is.EqualTo(before));
    }

    [Test]
    public void A_step_gives_the_same_bits_again([Values(1, 2, 3)] int threads)
    {
        int restore = Device.Cpu.Threads;
        Device.Cpu.Threads = threads;
        try
        {
            int[][] first = Bits(), second = Bits();
            Assert.That(second, Is.EqualTo(first));
        }
        finally { Device.Cpu.Threads = restore; }

        static int[][] Bits()
        {
            using var scope = new TensorScope();
            Tensor[] parameters = Parameters();
            Step(parameters, Tensor.From<int>([.. Enumerable.Range(0, 32).Select(i => i % 10)], new(32)), 7);
            return [.. parameters.Select(p => Array.ConvertAll(p.Grad!.ToArray(), BitConverter.SingleToInt32Bits))];
        }
    }

    [Test]
    public void Dropout_is_the_same_for_any_number_of_threads()
    {
        using var scope = new TensorScope();
        int restore = Device.Cpu.Threads;
        Tensor x = Tensor.Full(new(123, 457), 1);
        try
        {
            Device.Cpu.Threads = 1;
            float[] one = Functional.Dropout(x, 0.3f, 5, 6).ToArray();
            Device.Cpu.Threads = 3;
            Assert.That(Functional.Dropout(x, 0.3f, 5, 6).ToArray(), Is.EqualTo(one));
            Assert.That(one.Count(v => v == 0), Is.EqualTo(0.3 * one.Length).Within(5 * Math.Sqrt(0.21 * one.Length)));
            Assert.That(Functional.Dropout(x, 0.3f, 5, 7).ToArray(), Is.Not.EqualTo(one));
        }
        finally { Device.Cpu.Threads = restore; }
    }

    private static Tensor[] Parameters()
    {
        Tensor[] parameters = [Tensor.RandomNormal(new(50, 24 * 25), 1), Tensor.Full(new(24), 1), Tensor.Full(new(24), 0), Tensor.RandomNormal(new(24, 10), 2)];
        foreach (Tensor p in parameters) p.RequiresGrad = true;
        return parameters;
    }

    private static void Step(Tensor[] parameters, Tensor labels, ulong step)
    {
        using var scope = new TensorScope();
        Tensor indices = Tensor.From<int>([.. Enumerable.Range(0, 32).Select(i => (i * 7 + (int)step) % 50)], new(32));
        Tensor x = Functional.Reshape(Functional.Embedding(parameters[0], indices), new(32, 24, 5, 5));
        x = Functional.BatchNorm(x, parameters[1], parameters[2], Tensor.Zeros(new(24)), Tensor.Full(new(24), 1), training: true, relu: true);
        x = Functional.Concat([Functional.Slice(x, 0, 16, 16), Functional.Slice(x, 0, 0, 16)], 0);
        x = Functional.GlobalAvgPool(Functional.AvgPool2d(Functional.MaxPool2d(x, 3, 1, 1), 2, 2));
        x = Functional.Dropout(Functional.LayerNorm(Functional.Gelu(x), null, null), 0.1f, 3, step);
        Tensor logits = Functional.MatMul(Functional.L2Normalize(x), parameters[3]);
        Tensor loss = Functional.CrossEntropy(logits, labels);
        Tensor penalty = Functional.Scale(Functional.Mean(Functional.Mul(logits, Functional.Softmax(logits, 0.5f))), 0.01f);
        Functional.Add(loss, penalty).Backward();
    }

    private static long Resident()
    {
        GC.Collect();
        using var process = System.Diagnostics.Process.GetCurrentProcess();
        return process.WorkingSet64;
    }
}
