package main

import (
	"context"
	"os/signal"
	"time"
)

// untilSignal gives a context that ends with the first signal to stop. A second signal ends the process.
func untilSignal(parent context.Context) (ctx context.Context, stop func()) {
	ctx, stop = signal.NotifyContext(parent, stopSignals...)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// contextWithin is a context that ends after d; 0 means at once.
func contextWithin(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}
