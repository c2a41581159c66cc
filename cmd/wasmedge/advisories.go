package main

// advisory is something that was published against an engine of this build after its release.
type advisory struct {
	Engine   string   `json:"engine"`
	ID       string   `json:"id"` // GHSA number, or an issue of the engine's project
	CVE      string   `json:"cve,omitempty"`
	Date     string   `json:"date"`
	Severity string   `json:"severity"` // as published
	Title    string   `json:"title"`
	Fixed    string   `json:"fixed,omitempty"` // first releases without it
	Exposed  exposure `json:"exposed"`
	Why      string   `json:"why"`
}

// exposure says whether a guest or client of this program can reach the fault.
type exposure string

const (
	exposedYes  exposure = "yes"
	exposedSome exposure = "some platforms"
	exposedNo   exposure = "no"
)

func (e exposure) heading() string {
	switch e {
	case exposedYes:
		return "this program is exposed to:"
	case exposedSome:
		return "this program is exposed on some platforms to:"
	}
	return "this program is not exposed to:"
}

// advisoriesAsOf is the day up to which advisories were looked for: GitHub's advisories, the RustSec database and
// the engines' release notes.
const advisoriesAsOf = "2026-11-20"

// Reasons that many advisories share.
const (
	whyComponents = "components are not run"
	whyWASI       = "WASI is our own code, the engine's is not linked to guests"
	whyWinch      = "the Winch compiler is not used"
)

// advisories lists those that concern wasmtime 39.0.1 (its line ended with 39; fixes went to 36 and to 40 and later)
// and wazero 1.12.0. Those that begin with a later release are left out.
var advisories = []advisory{
	{"wasmtime", "GHSA-897f-g5gm-fmxm", "CVE-2026-115889", "2026-10-19", "critical",
		"Cranelift packs numbers into too few bits and miscompiles", "36.0.19, 49.0.4", exposedNo,
		"functions that could reach it are refused before they are compiled (host/wasm, CheckComplexity)"},
	{"wasmtime", "GHSA-mghf-wjfp-p5xm", "CVE-2026-115893", "2026-10-19", "critical",
		"a large br_table jumps to the wrong place on aarch64", "36.0.19, 49.0.4", exposedSome,
		"on arm64 a guest made for it may leave its sandbox; amd64 is not affected"},
	{"wasmtime", "GHSA-p8xm-42r7-89xg", "CVE-2026-44216", "2026-04-30", "medium",
		"a huge 64-bit table makes the host panic", "36.0.8, 43.0.2, 44.0.1", exposedNo,
		"the memory64 proposal, which such tables need, is switched off"},
	{"wasmtime", "GHSA-jhxm-h53p-jm7w", "CVE-2026-34971", "2026-04-09", "critical",
		"heap access miscompiled on aarch64", "36.0.7, 42.0.2, 43.0.1", exposedNo,
		"needs 64-bit memories and Spectre mitigations switched off; neither is so here"},
	{"wasmtime", "GHSA-6wgr-89rj-399p", "CVE-2026-34988", "2026-04-09", "low",
		"pooled memories leak data to the next instance", "36.0.7, 42.0.2, 43.0.1", exposedNo,
		"needs memories without guard region; ours have one"},
	{"wasmtime", "GHSA-vc8c-j3xm-xj73", "CVE-2026-24116", "2026-01-26", "medium",
		"f64.copysign loads too much on x86-64", "36.0.5, 40.0.3, 41.0.1", exposedNo,
		"needs signal-based traps or guard regions switched off; both are on"},
	{"wasmtime", "GHSA-qqfj-4vcm-26hv", "CVE-2026-34944", "2026-04-09", "medium",
		"f64x2.splat loads too much on x86-64 without SSE3", "36.0.7, 42.0.2, 43.0.1", exposedNo,
		"needs signal-based traps or guard regions switched off; both are on"},
	{"wasmtime", "GHSA-hgjw-h833-99q9", "", "2026-07-31", "low",
		"stores mix up type indices of several engines", "36.0.13, 46.0.2, 47.0.3", exposedNo,
		"stores of one engine never meet modules of another"},
	{"wasmtime", "GHSA-xjhv-v822-pf94", "CVE-2026-27195", "2026-02-24", "medium",
		"dropping the future of an async call panics", "40.0.4, 41.0.4", exposedNo, whyComponents},
	{"wasmtime", "GHSA-32h6-97mm-8q3c", "CVE-2026-115384", "2026-10-02", "critical",
		"results of async component callbacks overflow the stack", "48.0.4, 49.0.2", exposedNo, whyComponents},
	{"wasmtime", "GHSA-394w-hwhg-8vgm", "CVE-2026-35195", "2026-04-09", "medium",
		"transcoding component strings writes out of bounds", "36.0.7, 42.0.2, 43.0.1", exposedNo, whyComponents},
	{"wasmtime", "GHSA-hx6p-xpx3-jvvv", "CVE-2026-34941", "2026-04-09", "medium",
		"transcoding component strings reads out of bounds", "36.0.7, 42.0.2, 43.0.1", exposedNo, whyComponents},
	{"wasmtime", "GHSA-jxhv-7h78-9775", "CVE-2026-34942", "2026-04-09", "medium",
		"transcoding misaligned component strings panics", "36.0.7, 42.0.2, 43.0.1", exposedNo, whyComponents},
	{"wasmtime", "GHSA-m758-wjhj-p3jq", "CVE-2026-34943", "2026-04-09", "medium",
		"lifting component flags panics", "36.0.7, 42.0.2, 43.0.1", exposedNo, whyComponents},
	{"wasmtime", "GHSA-jqpg-j7w6-42pr", "", "2026-09-24", "low",
		"lifting component records allocates past its limit", "36.0.16, 48.0.3, 49.0.1", exposedNo, whyComponents},
	{"wasmtime", "GHSA-xx5w-cvp6-jv83", "CVE-2026-34987", "2026-04-09", "critical",
		"Winch lets guests out of the sandbox on aarch64", "36.0.7, 42.0.2, 43.0.1", exposedNo, whyWinch},
	{"wasmtime", "GHSA-f984-pcp8-v2p7", "CVE-2026-35186", "2026-04-09", "medium",
		"Winch does not mask the result of table.grow", "36.0.7, 42.0.2, 43.0.1", exposedNo, whyWinch},
	{"wasmtime", "GHSA-m9w2-8782-2946", "CVE-2026-34945", "2026-04-09", "low",
		"Winch leaks host data through 64-bit tables", "36.0.7, 42.0.2, 43.0.1", exposedNo, whyWinch},
	{"wasmtime", "GHSA-q49f-xg75-m9xw", "CVE-2026-34946", "2026-04-09", "medium",
		"Winch's table.fill panics", "36.0.7, 42.0.2, 43.0.1", exposedNo, whyWinch},
	{"wasmtime", "GHSA-852m-cvvp-9p4w", "CVE-2026-27204", "2026-02-24", "medium",
		"WASI lets guests exhaust the host's memory", "36.0.6, 40.0.4, 41.0.4", exposedNo, whyWASI},
	{"wasmtime", "GHSA-243v-98vx-264h", "CVE-2026-27572", "2026-02-24", "medium",
		"too many wasi:http fields panic", "36.0.6, 40.0.4, 41.0.4", exposedNo, whyWASI},
	{"wasmtime", "GHSA-2r75-cxrj-cmph", "CVE-2026-47261", "2026-05-21", "high",
		"WASI path_open truncates read-only files", "36.0.10, 44.0.2", exposedNo, whyWASI},
	{"wasmtime", "GHSA-3p27-qvp9-27qf", "", "2026-06-15", "low",
		"WASI fd_renumber leaks", "36.0.11, 44.0.3, 45.0.2", exposedNo, whyWASI},
	{"wasmtime", "GHSA-4ch3-9j33-3pmj", "CVE-2026-58494", "2026-06-24", "medium",
		"WASI links and renames pass by file permissions", "36.0.12, 45.0.3, 46.0.1", exposedNo, whyWASI},
	{"wasmtime", "GHSA-vqjp-4c8c-hfgg", "", "2026-08-20", "high",
		"WASI paths with trailing slashes leave the sandbox", "36.0.14, 46.0.3, 47.0.4", exposedNo, whyWASI},
	{"wasmtime", "GHSA-j366-h8gg-77pm", "", "2026-10-02", "not stated",
		"WASI preview 0 poll_oneoff escapes fuel accounting", "36.0.17, 48.0.4, 49.0.2", exposedNo, whyWASI},
	{"wasmtime", "GHSA-gqmc-89g8-p25r", "", "2026-10-02", "not stated",
		"WASI without standard streams allocates too much", "36.0.17, 48.0.4, 49.0.2", exposedNo, whyWASI},
	{"wasmtime", "GHSA-96f6-r43r-8c24", "", "2026-10-02", "not stated",
		"WASI fd_readdir copies uninitialised bytes to guests", "36.0.17, 48.0.4, 49.0.2", exposedNo, whyWASI},
	{"wasmtime", "GHSA-r8xh-cgf7-392j", "", "2026-10-19", "not stated",
		"wasi:http guests send conflicting lengths", "36.0.19, 49.0.4", exposedNo, whyWASI},
	{"wasmtime", "GHSA-f2pq-268w-886c", "", "2026-11-19", "not stated",
		"WASI paths leave the sandbox on Windows", "49.0.7, 50.0.3", exposedNo, whyWASI},
	{"wazero", "wazero issue 2516", "", "2026", "bug",
		"the optimising compiler miscompiles some code (seen in a date formatter)", "", exposedYes,
		"a guest may compute wrong results; its sandbox is not known to be affected. wasmtime computes right"},
}
