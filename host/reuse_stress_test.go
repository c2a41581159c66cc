package host

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"
)

// slowBody gives a body bit by bit, and an end or an error.
type slowBody struct {
	left int
	err  error
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, b.err
	}
	time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
	b.left--
	n := min(len(p), 1+rand.IntN(1000))
	copy(p, bytes.Repeat([]byte("x"), n))
	return n, nil
}

// stressTime is how long TestReusableSandboxesSurviveTheirClients goes on for each engine; WASMEDGE_STRESS has it go on
// for longer.
func stressTime() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("WASMEDGE_STRESS")); err == nil {
		return d
	}
	return 1500 * time.Millisecond
}

// TestReusableSandboxesSurviveTheirClients: clients of both protocols that go away at any moment, traps, guests that burn
// CPU time, slow and broken uploads, and services that are closed meanwhile. Whatever is answered with 200 is the
// asker's own answer, and nothing is left behind.
func TestReusableSandboxesSurviveTheirClients(t *testing.T) {
	eachEngine(t, func(t *testing.T, h *testHost) {
		for until := time.Now().Add(stressTime()); time.Now().Before(until) && !t.Failed(); {
			stressReuse(t, h, []string{"rust/reuse", "rust/reuse", "wat/next_polled"}[rand.IntN(3)])
		}
	})
}

func stressReuse(t *testing.T, h *testHost, guest string) {
	s := load(t, h, guest, ServiceConfig{Limits: Limits{
		CPU: 20 * time.Millisecond, Concurrent: 1 + rand.IntN(6), Queue: 32, QueueWait: 100 * time.Millisecond,
		Wall: time.Duration(50+rand.IntN(2000)) * time.Millisecond, SandboxRequests: 1 + rand.IntN(20),
	}})
	url := "http://" + listen(t, s, nil)
	one := &http.Client{Transport: &http.Transport{}}
	h2 := new(http.Protocols)
	h2.SetUnencryptedHTTP2(true)
	two := &http.Client{Transport: &http.Transport{Protocols: h2}}
	defer one.CloseIdleConnections()
	defer two.CloseIdleConnections()

	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for ctx.Err() == nil {
				client := one
				if rand.IntN(2) == 0 {
					client = two
				}
				stressRequest(t, ctx, client, url, guest == "rust/reuse")
			}
		})
	}
	time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond)
	closing, stop := context.WithTimeout(context.Background(), time.Duration(rand.IntN(40))*time.Millisecond)
	defer stop()
	closed := make(chan struct{})
	go func() {
		s.Close(closing)
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(30 * time.Second):
		t.Error("the service cannot be closed")
	}
	cancel()
	wg.Wait()
	waitFor(t, func() bool { return s.gate.inside() == 0 && s.idlers.n.Load() == 0 && h.idle.Load() == 0 })
}

func stressRequest(t *testing.T, ctx context.Context, client *http.Client, url string, echoes bool) {
	path := []string{"/a", "/b", "/c", "/d", "/e", "/trap", "/burn"}[rand.IntN(7)]
	var body io.Reader
	var sent []byte
	switch rand.IntN(4) {
	case 0:
		sent = bytes.Repeat([]byte{byte('a' + rand.IntN(26))}, 1+rand.IntN(20))
		body = bytes.NewReader(sent)
	case 1:
		body = &slowBody{left: rand.IntN(20), err: io.EOF}
	case 2:
		body = &slowBody{left: rand.IntN(20), err: io.ErrUnexpectedEOF}
	}
	if rand.IntN(3) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(15000))*time.Microsecond)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, "POST", url+path, body)
	if err != nil {
		t.Error(err)
		return
	}
	resp, err := client.Do(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || !echoes {
		return
	}
	if !bytes.Contains(got, []byte(" "+path+" ")) || sent != nil && !bytes.HasSuffix(got, append([]byte(path+" "), append(sent, '\n')...)) {
		t.Errorf("%s with %q is answered with %q", path, sent, got)
	}
}
