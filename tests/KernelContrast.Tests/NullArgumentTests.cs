using System.Collections;
using System.Linq.Expressions;
using System.Reflection;
using System.Runtime.CompilerServices;
using KernelContrast.Datasets;

namespace KernelContrast.Tests;

/// <summary>
/// Null for what must not be null is refused by the argument's name, before anything else is looked at: by every public static
/// method and constructor.
/// </summary>
[TestFixture]
internal sealed class NullArgumentTests
{
    private static readonly NullabilityInfoContext Nullability = new();

    private static IEnumerable<TestCaseData> Arguments() =>
        from type in typeof(Tensor).Assembly.GetExportedTypes().Concat(typeof(Dataset).Assembly.GetExportedTypes())
        where !type.ContainsGenericParameters && !IsPlainData(type)
        from method in Static(type).Concat<MethodBase>(type.IsAbstract ? [] : type.GetConstructors())
        let parameters = method.GetParameters()
        // Reflection calls nothing with spans.
        where !parameters.Any(p => p.ParameterType.IsByRefLike || p.ParameterType.IsByRef || p.ParameterType.IsPointer)
        from parameter in parameters
        where !parameter.ParameterType.IsValueType && Nullability.Create(parameter).ReadState == NullabilityState.NotNull
        select new TestCaseData(method, parameter).SetArgDisplayNames(
            $"{type.Name}{(method is MethodInfo ? $".{method.Name}" : "")}({string.Join(", ", parameters.Select(p => p.ParameterType.Name))})", parameter.Name!);

    [TestCaseSource(nameof(Arguments))]
    public void Null_is_refused_by_the_arguments_name(MethodBase method, ParameterInfo parameter)
    {
        // No tensor may outlive its test: a finalizer's return of memory without guards would look like a violation in another.
        using var scope = new TensorScope();
        object?[] given = [.. method.GetParameters().Select(p => p == parameter ? null : Any(p.ParameterType))];
        Assert.That(() => method is ConstructorInfo constructor ? constructor.Invoke(given) : method.Invoke(null, given),
            Throws.TargetInvocationException.With.InnerException.TypeOf<ArgumentNullException>().And.InnerException.Property(nameof(ArgumentException.ParamName)).EqualTo(parameter.Name));
    }

    /// <summary>So that the rule is seen to find what it is for.</summary>
    [Test]
    public void Ops_losses_loaders_and_trainers_are_among_them()
    {
        string[] names = [.. Arguments().Select(a => (MethodBase)a.Arguments[0]!).Select(m => $"{m.DeclaringType!.Name}.{m.Name}").Distinct()];
        Assert.That(names, Is.SupersetOf(new[] { "Functional.Relu", "Functional.Concat", "NtXent.Loss", "Moco.Loss", "Dataset.Open", "SimClrTrainer.Start", "Embedder.Embed", "AdamW..ctor" }));
    }

    private static IEnumerable<MethodInfo> Static(Type type) =>
        type.GetMethods(BindingFlags.Public | BindingFlags.Static | BindingFlags.DeclaredOnly).Where(m => !m.IsSpecialName && !m.ContainsGenericParameters);

    /// <summary>Records of results, which the library makes, and exceptions.</summary>
    private static bool IsPlainData(Type type) =>
        typeof(Exception).IsAssignableFrom(type) || typeof(Delegate).IsAssignableFrom(type) || type.GetMethod("<Clone>$") is not null;

    /// <summary>Something that is not null; what else it is does not matter to the check for null.</summary>
    private static object? Any(Type type) =>
        type == typeof(Tensor) ? Tensor.Zeros(new(2, 3))
        : type == typeof(Device) ? Device.Cpu
        : type == typeof(string) ? "x"
        : type == typeof(int) ? 1
        : type == typeof(float) ? 0.5f
        : type == typeof(double) ? 0.5
        : type == typeof(IImageDataset) ? new MemoryDataset(new byte[4], [0], 1, 2, 2)
        : typeof(Delegate).IsAssignableFrom(type) ? Nothing(type.GetMethod("Invoke")!, type)
        : type.IsValueType ? Activator.CreateInstance(type)
        : type.IsArray ? Array.CreateInstance(type.GetElementType()!, 0)
        : type.IsInterface || type.IsAbstract ? Empty(type)
        : RuntimeHelpers.GetUninitializedObject(type);

    private static Delegate Nothing(MethodInfo invoke, Type type) =>
        Expression.Lambda(type, Expression.Default(invoke.ReturnType), invoke.GetParameters().Select(p => Expression.Parameter(p.ParameterType))).Compile();

    private static object? Empty(Type type) =>
        type == typeof(Nn.Module) ? new Nn.Relu()
        : type.IsGenericType && typeof(IEnumerable).IsAssignableFrom(type) && type.GetGenericArguments() is [var element] ? Array.CreateInstance(element, 0)
        : null;
}
