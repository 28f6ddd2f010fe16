using KernelContrast.Cases;
using KernelContrast.Losses;

namespace KernelContrast.Tests;

/// <summary>What the cases cannot say of NT-Xent: known values, symmetries, determinism, memory, bad arguments.</summary>
[TestFixture]
internal sealed class NtXentTests
{
    [TestCase(0.5f)]
    [TestCase(0.05f)]
    [TestCase(0.01f)]
    public void A_collapsed_batch_costs_the_logarithm_of_the_other_rows(float temperature)
    {
        var rows = new float[64 * 5];
        for (int i = 0; i < rows.Length; i++) rows[i] = 1 + i % 5;
        double loss = NtXent.LossAndGradient(rows, 64, 5, temperature, PairLayout.Halves, []);
        Assert.That(loss, Is.EqualTo(Math.Log(63)).Within(1e-5));
    }

    [Test]
    public void Orthogonal_pairs_cost_what_two_cosines_of_0_and_1_give()
    {
        // 8 pairs along 8 axes: one positive with s = 1, 14 negatives with s = 0
        var rows = new float[16 * 8];
        for (int i = 0; i < 16; i++) rows[i * 8 + i % 8] = 1 + i;
        double loss = NtXent.LossAndGradient(rows, 16, 8, 0.5f, PairLayout.Halves, []);
        Assert.That(loss, Is.EqualTo(Math.Log(1 + 14 * Math.Exp(-2))).Within(1e-6));
    }

    [TestCase(0.1f)]
    [TestCase(0.01f)]
    public void The_gradient_is_orthogonal_to_each_row(float temperature)
    {
        float[] rows = Normal(66 * 40, seed: 3), gradient = new float[rows.Length];
        NtXent.LossAndGradient(rows, 66, 40, temperature, PairLayout.Halves, gradient);
        for (int i = 0; i < 66; i++)
        {
            double dot = 0, size = 0;
            for (int k = i * 40; k < i * 40 + 40; k++)
            {
                dot += (double)rows[k] * gradient[k];
                size += Math.Abs((double)rows[k] * gradient[k]);
            }
            Assert.That(dot, Is.Zero.Within(1e-5 * size), $"row {i}");
        }
    }

    [TestCase(0.1f)]
    [TestCase(0.01f)]
    public void Layouts_agree_bit_for_bit_once_rows_are_permuted(float temperature)
    {
        const int rows = 70, dim = 21;
        float[] halves = Normal(rows * dim, seed: 4), interleaved = new float[halves.Length];
        for (int i = 0; i < rows; i++)
            halves.AsSpan(i % (rows / 2) * dim + i / (rows / 2) * (rows / 2) * dim, dim)
                .CopyTo(interleaved.AsSpan((2 * (i % (rows / 2)) + i / (rows / 2)) * dim));
        float[] first = new float[halves.Length], second = new float[halves.Length];
        double a = NtXent.LossAndGradient(halves, rows, dim, temperature, PairLayout.Halves, first);
        double b = NtXent.LossAndGradient(interleaved, rows, dim, temperature, PairLayout.Interleaved, second);
        Assert.That(b, Is.EqualTo(a));
        for (int i = 0; i < rows; i++)
        {
            int there = 2 * (i % (rows / 2)) + i / (rows / 2);
            Assert.That(second.AsSpan(there * dim, dim).ToArray(), Is.EqualTo(first.AsSpan(i * dim, dim).ToArray()), $"row {i}");
        }
    }

    [Test]
    public void Permuting_pairs_permutes_gradients()
    {
        const int pairs = 45, dim = 33;
        float[] rows = Normal(2 * pairs * dim, seed: 5), moved = new float[rows.Length];
        for (int i = 0; i < 2 * pairs; i++)
            rows.AsSpan(i * dim, dim).CopyTo(moved.AsSpan(Moved(i) * dim));
        float[] gradient = new float[rows.Length], movedGradient = new float[rows.Length];
        double a = NtXent.LossAndGradient(rows, 2 * pairs, dim, 0.2f, PairLayout.Halves, gradient);
        double b = NtXent.LossAndGradient(moved, 2 * pairs, dim, 0.2f, PairLayout.Halves, movedGradient);
        Assert.That(b, Is.EqualTo(a).Within(1e-6));
        double largest = gradient.Max(Math.Abs);
        for (int i = 0; i < 2 * pairs; i++)
            for (int k = 0; k < dim; k++)
                Assert.That(movedGradient[Moved(i) * dim + k], Is.EqualTo(gradient[i * dim + k]).Within(1e-6 * largest));

        static int Moved(int i) => i / pairs * pairs + (i % pairs * 7 + 3) % pairs;
    }

    [Test]
    public void Runs_repeat_bit_for_bit_on_the_same_number_of_threads([Values(1, 2, 3)] int threads, [Values(0.1f, 0.01f)] float temperature)
    {
        int before = Device.Cpu.Threads;
        try
        {
            Device.Cpu.Threads = threads;
            float[] rows = Normal(300 * 48, seed: 6), first = new float[rows.Length], again = new float[rows.Length];
            double loss = NtXent.LossAndGradient(rows, 300, 48, temperature, PairLayout.Halves, first);
            for (int run = 0; run < 10; run++)
            {
                Assert.That(NtXent.LossAndGradient(rows, 300, 48, temperature, PairLayout.Halves, again), Is.EqualTo(loss));
                Assert.That(again, Is.EqualTo(first));
            }
        }
        finally { Device.Cpu.Threads = before; }
    }

    [Test]
    public void Thread_counts_agree_with_the_double_reference([Values(1, 3, 7)] int threads, [Values(0.1f, 0.01f)] float temperature)
    {
        int before = Device.Cpu.Threads;
        try
        {
            Device.Cpu.Threads = threads;
            OpCase test = CaseRunner.AllCases.First(c => c.Op == "nt-xent" && c.Name.StartsWith("129 pairs of 128", StringComparison.Ordinal));
            Assert.That(CaseRunner.Compare(test, Device.Cpu).Problem, Is.Null);
            Assert.That(CaseRunner.CheckGradient(test, Device.Cpu).Problem, Is.Null);
        }
        finally { Device.Cpu.Threads = before; }
    }

    [Test]
    public void Tape_and_plain_call_agree()
    {
        float[] rows = Normal(34 * 20, seed: 7), gradient = new float[rows.Length];
        double loss = NtXent.LossAndGradient(rows, 34, 20, 0.3f, PairLayout.Interleaved, gradient);
        using var scope = new TensorScope();
        Tensor h = Tensor.From<float>(rows, new(34, 20));
        h.RequiresGrad = true;
        Tensor taped = NtXent.Loss(h, 0.3f, PairLayout.Interleaved);
        taped.Backward();
        Assert.That(taped.Item(), Is.EqualTo((float)loss));
        Assert.That(h.Grad!.ToArray(), Is.EqualTo(gradient));
    }

    [Test]
    public void Nothing_of_the_size_of_rows_squared_is_stored_beyond_64_MiB()
    {
        const int rows = 6144, dim = 32;
        var pool = Device.Cpu.Pool;
        float[] embeddings = Normal(rows * dim, seed: 8), gradient = new float[rows * dim];
        pool.ResetPeak();
        long before = Device.Cpu.Memory.LiveBytes;
        NtXent.LossAndGradient(embeddings, rows, dim, 0.1f, PairLayout.Halves, gradient);
        long matrix = 4L * rows * dim, peak = Device.Cpu.Memory.PeakLiveBytes - before;
        // the packed rows twice, one accumulator and the tiles of each thread
        long tiles = 300 * 1024;
        Assert.That(peak, Is.LessThan(1.15 * (2 * matrix + Device.Cpu.Threads * (matrix + tiles)) + 64 * rows));
    }

    [Test]
    public void The_plain_call_allocates_nothing_once_warm()
    {
        float[] rows = Normal(256 * 32, seed: 9), gradient = new float[rows.Length];
        for (int i = 0; i < 3; i++) NtXent.LossAndGradient(rows, 256, 32, 0.1f, PairLayout.Halves, gradient);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 10; i++) NtXent.LossAndGradient(rows, 256, 32, 0.1f, PairLayout.Halves, gradient);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
    }

    [TestCase(0.1f)]
    [TestCase(0.01f)]
    public void A_NaN_of_any_payload_makes_all_of_it_NaN(float temperature)
    {
        float[] rows = Normal(80 * 24, seed: 10), gradient = new float[rows.Length];
        rows[17 * 24 + 5] = BitConverter.UInt32BitsToSingle(0x7FC0_1A5B);
        double loss = NtXent.LossAndGradient(rows, 80, 24, temperature, PairLayout.Halves, gradient);
        Assert.That(loss, Is.NaN);
        Assert.That(gradient, Has.All.NaN);
    }

    [Test]
    public void Bad_arguments_are_named_in_one_line()
    {
        using Tensor odd = Tensor.Zeros(new(3, 4)), none = Tensor.Zeros(new(0, 4)), image = Tensor.Zeros(new(2, 1, 2, 2)), good = Tensor.Zeros(new(4, 4));
        using Tensor bad = Tensor.From<float>([1, 2, 3, float.NaN], new(2, 2));
        Assert.Multiple(() =>
        {
            Assert.That(() => NtXent.Loss(odd), Throws.ArgumentException.With.Message.Contains("[3, 4]"));
            Assert.That(() => NtXent.Loss(none), Throws.ArgumentException.With.Message.Contains("[0, 4]"));
            Assert.That(() => NtXent.Loss(image), Throws.ArgumentException.With.Message.Contains("[2, 1, 2, 2]"));
            foreach (float temperature in new[] { 0, -1, float.NaN, float.PositiveInfinity })
                Assert.That(() => NtXent.Loss(good, temperature), Throws.ArgumentException.With.Message.Contains("temperature"));
            Assert.That(() => NtXent.CheckFinite(bad), Throws.ArgumentException.With.Message.Contains("row 1 of the embeddings holds NaN in column 1"));
            Assert.That(() => NtXent.LossAndGradient(new float[8], 2, 3, 0.5f, PairLayout.Halves, []), Throws.ArgumentException.With.Message.Contains("6 elements"));
        });
    }

    private static float[] Normal(int count, ulong seed)
    {
        var random = new PhiloxStream(seed, 11);
        var values = new float[count];
        foreach (ref float value in values.AsSpan()) value = random.NextNormal();
        return values;
    }
}
