//go:build cgo && (linux || darwin) && (amd64 || arm64)

package wasmtime

import (
	"strings"

	"golang.org/x/sys/cpu"
)

// cpuFeatures names those features of this CPU that Cranelift makes use of when it compiles for the machine it
// runs on (cranelift-native). LZCNT is not told apart: CPUs have it together with BMI1.
func cpuFeatures() string {
	var names []string
	for _, f := range []struct {
		name string
		have bool
	}{
		{"sse3", cpu.X86.HasSSE3},
		{"ssse3", cpu.X86.HasSSSE3},
		{"cx16", cpu.X86.HasCX16},
		{"sse4.1", cpu.X86.HasSSE41},
		{"sse4.2", cpu.X86.HasSSE42},
		{"popcnt", cpu.X86.HasPOPCNT},
		{"avx", cpu.X86.HasAVX},
		{"avx2", cpu.X86.HasAVX2},
		{"fma", cpu.X86.HasFMA},
		{"bmi1", cpu.X86.HasBMI1},
		{"bmi2", cpu.X86.HasBMI2},
		{"avx512f", cpu.X86.HasAVX512F},
		{"avx512dq", cpu.X86.HasAVX512DQ},
		{"avx512vl", cpu.X86.HasAVX512VL},
		{"avx512vbmi", cpu.X86.HasAVX512VBMI},
		{"avx512bitalg", cpu.X86.HasAVX512BITALG},
		{"lse", cpu.ARM64.HasATOMICS},
		{"fp16", cpu.ARM64.HasASIMDHP},
	} {
		if f.have {
			names = append(names, f.name)
		}
	}
	return strings.Join(names, "+")
}
