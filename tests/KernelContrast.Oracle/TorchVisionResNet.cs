using TorchSharp.Modules;
using static TorchSharp.torch.nn;
using TorchTensor = TorchSharp.torch.Tensor;

namespace KernelContrast.Oracle;

/// <summary>
/// ResNet-18 and ResNet-50 in TorchSharp (He et al. 2016; stride in the 3×3 convolution, as torchvision has it), with
/// torchvision's parameter names: the oracle for ours.
/// </summary>
internal sealed class TorchVisionResNet : Module<TorchTensor, TorchTensor>
{
#pragma warning disable CS0414, IDE0044 // fields are found by name
    private readonly Conv2d conv1;
    private readonly BatchNorm2d bn1;
    private readonly Sequential layer1, layer2, layer3, layer4;
    private readonly Linear fc;
#pragma warning restore CS0414, IDE0044
    private readonly bool _smallStem;

    internal TorchVisionResNet(int[] blocks, bool bottleneck, bool smallStem, int outputs) : base("resnet")
    {
        _smallStem = smallStem;
        conv1 = smallStem ? Conv2d(3, 64, 3, padding: 1, bias: false) : Conv2d(3, 64, 7, stride: 2, padding: 3, bias: false);
        bn1 = BatchNorm2d(64);
        int width = 64;
        layer1 = Layer(64, blocks[0], 1);
        layer2 = Layer(128, blocks[1], 2);
        layer3 = Layer(256, blocks[2], 2);
        layer4 = Layer(512, blocks[3], 2);
        fc = Linear(width, outputs);
        RegisterComponents();

        Sequential Layer(int planes, int count, int stride)
        {
            var modules = new List<(string, Module<TorchTensor, TorchTensor>)>();
            for (int i = 0; i < count; i++)
            {
                modules.Add(($"{i}", new Block(width, planes, i == 0 ? stride : 1, bottleneck)));
                width = planes * (bottleneck ? 4 : 1);
            }
            return Sequential(modules);
        }
    }

    public override TorchTensor forward(TorchTensor x)
    {
        x = functional.relu(bn1.call(conv1.call(x)));
        if (!_smallStem) x = functional.max_pool2d(x, 3, 2, 1);
        x = layer4.call(layer3.call(layer2.call(layer1.call(x))));
        return fc.call(x.mean([2, 3]));
    }

    private sealed class Block : Module<TorchTensor, TorchTensor>
    {
#pragma warning disable IDE0044
        private readonly Conv2d conv1, conv2;
        private readonly BatchNorm2d bn1, bn2;
        private readonly Conv2d? conv3;
        private readonly BatchNorm2d? bn3;
        private readonly Sequential? downsample;
#pragma warning restore IDE0044

        internal Block(int input, int planes, int stride, bool bottleneck) : base("block")
        {
            int output = planes * (bottleneck ? 4 : 1);
            conv1 = bottleneck ? Conv2d(input, planes, 1, bias: false) : Conv2d(input, planes, 3, stride: stride, padding: 1, bias: false);
            bn1 = BatchNorm2d(planes);
            conv2 = Conv2d(planes, planes, 3, stride: bottleneck ? stride : 1, padding: 1, bias: false);
            bn2 = BatchNorm2d(planes);
            if (bottleneck)
            {
                conv3 = Conv2d(planes, output, 1, bias: false);
                bn3 = BatchNorm2d(output);
            }
            if (stride != 1 || input != output)
                downsample = Sequential(("0", Conv2d(input, output, 1, stride: stride, bias: false)), ("1", BatchNorm2d(output)));
            RegisterComponents();
        }

        public override TorchTensor forward(TorchTensor x)
        {
            TorchTensor residual = downsample is null ? x : downsample.call(x);
            TorchTensor y = functional.relu(bn1.call(conv1.call(x)));
            y = bn2.call(conv2.call(y));
            if (conv3 is not null) y = bn3!.call(conv3.call(functional.relu(y)));
            return functional.relu(y + residual);
        }
    }
}
