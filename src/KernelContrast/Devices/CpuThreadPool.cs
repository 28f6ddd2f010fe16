using System.Diagnostics;

namespace KernelContrast.Devices;

/// <summary>
/// A few persistent threads that spin for a moment and then park. One job at a time; callers from several threads
/// take turns. Allocates nothing per job.
/// </summary>
/// <remarks>
/// Items are handed out in order but to whichever worker is free, so a kernel that must be bit-identical from run to
/// run keys its partial sums by <b>item</b>, never by worker; the worker index is for scratch memory only. The number
/// of items may depend on <see cref="Count"/>.
/// </remarks>
internal sealed unsafe class CpuThreadPool
{
    // Waking a parked thread costs tens of microseconds, the gap between two ops of a training step is shorter.
    private static readonly long SpinTicks = Stopwatch.Frequency / 5000;

    // A worker moves off its caller's processor, but not time and again where the system has reasons of its own.
    private static readonly long MoveTicks = Stopwatch.Frequency / 200;

    private readonly Lock _turn = new();
    private readonly object _park = new();
    private Thread[] _threads = [];
    private int _count;
    private int _generation, _pending, _parked, _next, _items, _callerProcessor = -1;
    private bool _stop;
    private void* _context;
    private delegate*<void*, int, int, void> _body;
    private Exception? _failure;
    [ThreadStatic] private static bool t_insideJob;

    internal CpuThreadPool(int count) => Resize(count);

    internal int Count => _count;

    internal void Resize(int count)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, 1024);
        lock (_turn)
        {
            if (count == _count) return;
            lock (_park)
            {
                _stop = true;
                _generation++;
                Monitor.PulseAll(_park);
            }
            foreach (Thread thread in _threads) thread.Join();
            _stop = false;
            _count = count;
            _threads = new Thread[count - 1];
            int generation = _generation;
            for (int i = 0; i < _threads.Length; i++)
            {
                int worker = i + 1;
                _threads[i] = new Thread(() => Work(worker, generation)) { IsBackground = true, Name = $"KernelContrast CPU {worker}" };
                _threads[i].Start();
            }
        }
    }

    /// <summary>
    /// Runs <paramref name="body"/>(context, worker, item) for every item in [0, items). Worker is in [0, Count).
    /// Called from inside a job, it runs the items on the calling thread with worker 0 of a private scratch: kernels
    /// do not nest jobs.
    /// </summary>
    internal void For<TContext>(int items, ref TContext context, delegate*<ref TContext, int, int, void> body)
        where TContext : allows ref struct
    {
        if (items <= 0) return;
        if (t_insideJob) throw new InvalidOperationException("A CPU kernel started a parallel job inside a parallel job.");
        if (items == 1 || _count == 1)
        {
            t_insideJob = true;
            try { for (int i = 0; i < items; i++) body(ref context, 0, i); }
            finally { t_insideJob = false; }
            return;
        }
        lock (_turn)
        {
#pragma warning disable CS8500 // the context lives on this stack frame until every worker is done
            fixed (TContext* pinned = &context)
            {
                _context = pinned;
                _body = (delegate*<void*, int, int, void>)(void*)body;
#pragma warning restore CS8500
                _items = items;
                _callerProcessor = Processors.Current;
                _next = 0;
                _failure = null;
                Volatile.Write(ref _pending, _threads.Length);
                Interlocked.Increment(ref _generation);
                if (Volatile.Read(ref _parked) > 0)
                    lock (_park) Monitor.PulseAll(_park);
                Drain(0);
                var spin = new SpinWait();
                while (Volatile.Read(ref _pending) != 0)
                    if (spin.Count < 64) spin.SpinOnce(-1); else Thread.Yield();
            }
            if (_failure is { } failure)
                System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failure);
        }
    }

    /// <summary>Convenience for ops where one closure per call does not matter.</summary>
    internal void For(int items, Action<int, int> body)
    {
        For(items, ref body, &Invoke);
        static void Invoke(ref Action<int, int> body, int worker, int item) => body(worker, item);
    }

    /// <summary>Splits [0, length) into ranges of at least <paramref name="grain"/>, a few per thread.</summary>
    internal void ForRanges(long length, long grain, Action<long, long> body)
    {
        if (length <= 0) return;
        int parts = (int)Math.Clamp(length / Math.Max(1, grain), 1, 4L * _count);
        if (parts == 1) { body(0, length); return; }
        For(parts, (_, part) => body(length * part / parts, length * (part + 1) / parts));
    }

    private void Work(int worker, int seen)
    {
        long moved = Stopwatch.GetTimestamp() - MoveTicks;
        while (true)
        {
            long start = Stopwatch.GetTimestamp();
            int spins = 0;
            while (Volatile.Read(ref _generation) == seen)
            {
                if (Stopwatch.GetTimestamp() - start < SpinTicks)
                {
                    Thread.SpinWait(20);
                    // The caller may stand behind this thread in one processor's queue: spinning on would cost it a time slice
                    // (NT-Xent of 256 rows took 1.2 ms so, and takes 0.11 where each has a processor of its own).
                    if (++spins % 16 == 0) Thread.Yield();
                    continue;
                }
                lock (_park)
                {
                    Interlocked.Increment(ref _parked);
                    while (Volatile.Read(ref _generation) == seen) Monitor.Wait(_park);
                    Interlocked.Decrement(ref _parked);
                }
            }
            seen = Volatile.Read(ref _generation);
            if (_stop) return;
            int processor = Processors.Current;
            if (processor >= 0 && processor == _callerProcessor && Stopwatch.GetTimestamp() - moved > MoveTicks)
            {
                Processors.Leave(processor);
                moved = Stopwatch.GetTimestamp();
            }
            Drain(worker);
            Interlocked.Decrement(ref _pending);
        }
    }

    private void Drain(int worker)
    {
        t_insideJob = true;
        try
        {
            for (int item; (item = Interlocked.Increment(ref _next) - 1) < _items;)
                _body(_context, worker, item);
        }
        catch (Exception failure)
        {
            _failure = failure;
            Volatile.Write(ref _next, _items);
        }
        finally { t_insideJob = false; }
    }
}
