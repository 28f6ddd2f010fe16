namespace KernelContrast;

/// <summary>
/// The differentiable ops as functions. Each op adds its own in <c>Ops/&lt;Op&gt;.cs</c>. All of an op's tensors are on
/// one device and hold floats unless it says otherwise; results are fresh tensors on that device.
/// </summary>
/// <exception cref="ArgumentException">Shapes, types or devices do not fit; the message names both sides.</exception>
public static partial class Functional;
