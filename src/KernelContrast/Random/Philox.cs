namespace KernelContrast;

/// <summary>
/// Philox4x32-10, a counter-based generator: 128 random bits are a pure function of a 128-bit counter and a 64-bit
/// key, so any sample's numbers are the same for any thread count, batch split or device.
/// </summary>
/// <remarks>Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011.</remarks>
public static class Philox
{
    /// <summary>Ten rounds on counter (c0, c1, c2, c3) under key (k0, k1).</summary>
    public static (uint X, uint Y, uint Z, uint W) Block(uint c0, uint c1, uint c2, uint c3, uint k0, uint k1)
    {
        for (int round = 0; round < 10; round++)
        {
            ulong p0 = 0xD2511F53ul * c0, p1 = 0xCD9E8D57ul * c2;
            (c0, c1, c2, c3) = ((uint)(p1 >> 32) ^ c1 ^ k0, (uint)p1, (uint)(p0 >> 32) ^ c3 ^ k1, (uint)p0);
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        return (c0, c1, c2, c3);
    }

    /// <summary>Maps 32 random bits to a float in [0, 1), on a grid of 2⁻²⁴.</summary>
    public static float ToUnit(uint bits) => (bits >> 8) * (1f / 16777216f);
}

/// <summary>A stream of numbers from <see cref="Philox"/>: key = seed, counter = (position, stream).</summary>
/// <remarks>Its whole state is <see cref="Seed"/>, <see cref="Stream"/> and <see cref="Position"/>, so it is saved and restored exactly.</remarks>
public struct PhiloxStream(ulong seed, ulong stream, ulong position = 0)
{
    /// <summary>The key.</summary>
    public readonly ulong Seed => seed;

    /// <summary>Which of the seed's 2⁶⁴ independent streams.</summary>
    public readonly ulong Stream => stream;

    /// <summary>How many 32-bit numbers were drawn.</summary>
    public ulong Position { get; private set; } = position;

    /// <summary>The next 32 random bits.</summary>
    public uint NextUInt32()
    {
        ulong block = Position >> 2;
        var (x, y, z, w) = Philox.Block((uint)block, (uint)(block >> 32), (uint)stream, (uint)(stream >> 32), (uint)seed, (uint)(seed >> 32));
        return (Position++ & 3) switch { 0 => x, 1 => y, 2 => z, _ => w };
    }

    /// <summary>Uniform in [0, 1).</summary>
    public float NextSingle() => Philox.ToUnit(NextUInt32());

    /// <summary>Uniform in [low, high).</summary>
    public float NextSingle(float low, float high) => low + (high - low) * NextSingle();

    /// <summary>Uniform whole number in [0, bound), without modulo bias (Lemire 2019).</summary>
    public int NextInt32(int bound)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(bound, 1);
        while (true)
        {
            ulong product = (ulong)NextUInt32() * (uint)bound;
            if ((uint)product >= unchecked((uint)-bound) % (uint)bound) return (int)(product >> 32);
        }
    }

    /// <summary>Standard normal (Box–Muller, two draws).</summary>
    public float NextNormal()
    {
        double u = 1.0 - NextSingle(), v = NextSingle();
        return (float)(Math.Sqrt(-2 * Math.Log(u)) * Math.Cos(2 * Math.PI * v));
    }
}
