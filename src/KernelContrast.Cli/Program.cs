using System.CommandLine;

var root = new RootCommand("Contrastive learning with hand-written kernels, driven from C#.");
return root.Parse(args).Invoke();
