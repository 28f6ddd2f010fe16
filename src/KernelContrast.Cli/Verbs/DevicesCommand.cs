using System.CommandLine;

namespace KernelContrast.Cli.Verbs;

/// <summary><c>devices</c>: where this machine can compute.</summary>
internal static class DevicesCommand
{
    internal static VerbCommand Create()
    {
        var json = new Option<bool>("--json") { Description = "Print one JSON object per device" };
        var verb = new VerbCommand("devices", "List the devices that --device takes, and why not where one cannot be used here.", "kernelcontrast devices") { json };
        verb.SetAction(parsed =>
        {
            IReadOnlyList<DeviceDescription> devices = Device.Available();
            if (parsed.GetValue(json))
            {
                foreach (DeviceDescription device in devices) Terminal.Line(Json(device));
                return 0;
            }
            Terminal.Table(["device", "usable", "what"],
                [.. devices.Select(d => new[] { d.Name, d.Problem is null ? "yes" : "no", d.Description })], textColumns: 3);
            foreach (DeviceDescription device in devices.Where(d => d.Problem is not null)) Terminal.Line($"{device.Name}: {device.Problem}");
            return 0;
        });
        return verb;
    }

    private static string Json(DeviceDescription device) => JsonLine.Of(json =>
    {
        json.WriteString("device", device.Name);
        json.WriteBoolean("usable", device.Problem is null);
        json.WriteString("description", device.Description);
        if (device.Problem is not null) json.WriteString("problem", device.Problem);
    });
}
