namespace KernelContrast.Tests;

[TestFixture]
internal sealed class PhiloxTests
{
    // Random123's known answers for philox4x32-10: zeros, ones, and the digits of pi.
    [TestCase(new[] { 0u, 0u, 0u, 0u }, new[] { 0u, 0u },
        new[] { 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u })]
    [TestCase(new[] { 0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu }, new[] { 0xffffffffu, 0xffffffffu },
        new[] { 0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu })]
    [TestCase(new[] { 0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u }, new[] { 0xa4093822u, 0x299f31d0u },
        new[] { 0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u })]
    public void Known_answers(uint[] counter, uint[] key, uint[] expected)
    {
        var (x, y, z, w) = Philox.Block(counter[0], counter[1], counter[2], counter[3], key[0], key[1]);
        Assert.That(new[] { x, y, z, w }, Is.EqualTo(expected));
    }
}
