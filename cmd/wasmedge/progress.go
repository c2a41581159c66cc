package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"go.uber.org/zap"

	"github.com/edgewasm/wasmedge/host/modcache"
)

// progressDelay keeps short compilations from flickering.
const progressDelay = 300 * time.Millisecond

// progress shows on a terminal that a module is being compiled, and tells the log how long it took.
func progress(o world, log *zap.Logger) func(modcache.Progress) {
	terminal := o.terminal(o.stderr)
	var mu sync.Mutex
	var bar *progressbar.ProgressBar
	return func(p modcache.Progress) {
		mu.Lock()
		defer mu.Unlock()
		text := fmt.Sprintf("compiling %s of WebAssembly", sizeText(uint64(p.Size)))
		switch p.Phase {
		case modcache.Waiting:
			text = "waiting for another process that compiles this module"
		case modcache.Started:
			return
		case modcache.Done:
			if bar != nil {
				_ = bar.Finish() // clears its line; the terminal's errors are nobody's business
				bar = nil
			}
			if p.Err == nil {
				log.Info(fmt.Sprintf("compiled %s of WebAssembly in %s", sizeText(uint64(p.Size)), p.Elapsed.Round(time.Millisecond)))
			}
			return
		}
		if !terminal || p.Elapsed < progressDelay {
			return
		}
		if bar == nil {
			bar = progressbar.NewOptions(-1, progressbar.OptionSetWriter(o.stderr), progressbar.OptionSpinnerType(14),
				progressbar.OptionClearOnFinish(), progressbar.OptionSetElapsedTime(true), progressbar.OptionSetPredictTime(false))
		}
		bar.Describe(text)
		_ = bar.Add(1)
	}
}
