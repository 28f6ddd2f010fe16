using KernelContrast.Devices;

namespace KernelContrast.Tests;

[TestFixture]
internal sealed class ProcessorsTests
{
    [Test]
    public void A_thread_leaves_its_processor_and_may_come_back()
    {
        if (Processors.Current < 0) Assert.Ignore("One processor, or no Linux: nothing to leave.");
        bool left = false;
        var seen = new HashSet<int>();
        var thread = new Thread(() =>
        {
            // The system may move it again at once, but not every time.
            for (int i = 0; i < 50; i++)
            {
                int before = Processors.Current;
                Processors.Leave(before);
                seen.Add(Processors.Current);
                left |= Processors.Current != before;
            }
        });
        thread.Start();
        thread.Join();
        Assert.That(left);
        Assert.That(seen, Has.Count.GreaterThan(1), "what it left once stayed closed to it");
    }
}
