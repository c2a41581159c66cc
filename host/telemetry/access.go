package telemetry

import (
	"strconv"
	"time"

	"go.uber.org/zap"
)

// Access is what the log keeps of one client request.
type Access struct {
	ID     uint64 // as in Request
	Client string // address of the client, without port
	Method string
	Path   string // with the query
	Proto  string // as HTTP/2.0
	Status int    // 0 when the client went away before there was one
	Bytes  int64  // of the response body that were sent

	Total   time.Duration // from the request's head to the response's end
	Sandbox time.Duration // from the guest's start to its end
	CPU     time.Duration // the guest computed
	Memory  uint64        // bytes of the guest's linear memory at its end
}

// Log prints the record at info level, whatever the logger's level is: who does not want access records does not
// call it.
func (a Access) Log(l *zap.Logger) {
	Announce(l, a.Method+" "+a.Path,
		Request(a.ID), zap.Int("status", a.Status), zap.Int64("bytes", a.Bytes), duration("total", a.Total),
		duration("sandbox", a.Sandbox), duration("vcpu", a.CPU), zap.Reflect("memory", byteSize(a.Memory)),
		zap.String("client", a.Client), zap.String("proto", a.Proto))
}

// duration is a field with three or four significant digits; more would be noise.
func duration(key string, d time.Duration) zap.Field {
	round := time.Duration(1)
	for d/round >= 10000 {
		round *= 10
	}
	return zap.Duration(key, d.Round(round))
}

// byteSize prints bytes as whole KiB or as MiB with one decimal. In JSON it is a number of bytes.
type byteSize uint64

func (n byteSize) String() string {
	if n < 1<<20 {
		return strconv.FormatUint(uint64(n+1023)>>10, 10) + "KiB"
	}
	return strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64) + "MiB"
}
