# The same verbs as build.sh, for PowerShell. Untested so far: nobody has run it on Windows yet. The emulated driver
# needs x86-64 Linux, so here only the CPU device is built.
param([string] $Verb = 'help', [Parameter(ValueFromRemainingArguments)] [string[]] $Rest = @())
$ErrorActionPreference = 'Stop'
Set-Location $PSScriptRoot
$Extension = if ($IsWindows -or $env:OS -eq 'Windows_NT') { '.exe' } else { '' }
$Tool = "src/KernelContrast.Cli/bin/Release/net10.0/kernelcontrast$Extension"

function Invoke-Checked { & $args[0] @($args | Select-Object -Skip 1); if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE } }

function Assert-Sdk {
    if (-not (Get-Command dotnet -ErrorAction SilentlyContinue) -or -not (dotnet --list-sdks | Select-String '^10\.')) {
        Write-Error 'Missing: the .NET SDK 10. Install it from https://dotnet.microsoft.com/download/dotnet/10.0, or with: winget install Microsoft.DotNet.SDK.10'
    }
}

function Build($Project) { Assert-Sdk; Invoke-Checked dotnet build $Project -c Release -v q -nologo }

function Test-All {
    $Full = $Rest.Count -gt 0 -and $Rest[0] -eq '--full'
    $Arguments = if ($Full) { @($Rest | Select-Object -Skip 1) } else { $Rest }
    Build KernelContrast.sln
    if ($Full) { $env:KERNELCONTRAST_TEST_THOROUGH = '1'; Build tests/KernelContrast.Oracle/KernelContrast.Oracle.csproj }
    $Sum = @{ succeeded = 0; failed = 0; skipped = 0 }
    $Broken = $false
    foreach ($Project in Get-ChildItem tests/*/*.csproj | Where-Object { Select-String -Quiet EnableNUnitRunner $_ }) {
        if ($Project.BaseName -like '*Oracle*' -and -not $Full) { continue }
        $Output = & "$($Project.DirectoryName)/bin/Release/net10.0/$($Project.BaseName)$Extension" --no-ansi --progress off @Arguments
        if ($LASTEXITCODE -ne 0 -and -not ($LASTEXITCODE -eq 8 -and $Arguments.Count -gt 0)) { $Broken = $true; $Output | Write-Host }
        foreach ($Key in @($Sum.Keys)) {
            $Line = $Output | Select-String "^ +${Key}: (\d+)$" | Select-Object -Last 1
            if ($Line) { $Sum[$Key] += [int] $Line.Matches[0].Groups[1].Value }
        }
    }
    Write-Host "$($Sum.succeeded) passed, $($Sum.failed) failed, $($Sum.skipped) skipped"
    if ($Broken -or $Sum.failed -gt 0 -or $Sum.succeeded -eq 0) { exit 1 }
}

switch ($Verb) {
    'demo' { Build src/KernelContrast.Cli; & $Tool demo @Rest; exit $LASTEXITCODE }
    'run' { Build src/KernelContrast.Cli; & $Tool @Rest; exit $LASTEXITCODE }
    'tool' { Build src/KernelContrast.Cli; Join-Path $PSScriptRoot $Tool }
    'test' { Test-All }
    'check' { Assert-Sdk; Invoke-Checked dotnet format whitespace KernelContrast.sln --verify-no-changes; Test-All }
    'bench' { Build bench/KernelContrast.Bench; & "bench/KernelContrast.Bench/bin/Release/net10.0/KernelContrast.Bench$Extension" @Rest; exit $LASTEXITCODE }
    'bundle' { Write-Error 'The bundle for a GPU host is built on x86-64 Linux: ./build.sh bundle (in WSL, say).' }
    'pack' {
        Assert-Sdk
        foreach ($Project in 'bindings/KernelContrast.Interop', 'src/KernelContrast', 'src/KernelContrast.Datasets') {
            Invoke-Checked dotnet pack $Project -c Release -v q -nologo -o artifacts/packages
        }
    }
    'help' { Write-Host './build.ps1 VERB: demo [--quick], test [--full] [ARGS], check, run ARGS, tool, bench [ARGS], bundle, pack, help' }
    default { Write-Host "There is no verb '$Verb': demo, test, check, run, tool, bench, bundle, pack, help."; exit 2 }
}
