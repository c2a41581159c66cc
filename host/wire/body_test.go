package wire

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestBodyBelowTheRateIsCutAfterTheGrace(t *testing.T) {
	for _, tt := range []struct {
		name   string
		waited time.Duration
		rate   int
		want   error
	}{
		{"no rate is asked for", time.Minute, 0, nil},
		{"within the grace", rateGrace / 2, 100, nil},
		{"fast enough", 20 * time.Second, 1, nil},
		{"too slow", 20 * time.Second, 100, errBodySlow},
	} {
		b := &bodyReader{ReadCloser: io.NopCloser(strings.NewReader(strings.Repeat("a", 100))), minRate: tt.rate, waited: tt.waited,
			outer: new(http.Request), inner: new(http.Request)}
		n, err := b.Read(make([]byte, 100))
		if n != 100 || !errors.Is(err, tt.want) {
			t.Errorf("%s: got %d bytes and %v, want %v", tt.name, n, err, tt.want)
		}
		if _, err = b.Read(make([]byte, 1)); tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: then got %v", tt.name, err)
		}
	}
}
