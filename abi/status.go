package abi

// Status is what every hostcall returns (fastly_status).
type Status uint32

// The statuses of the ABI.
const (
	OK                Status = 0
	Error             Status = 1  // generic failure, malformed text, wrong state
	Inval             Status = 2  // invalid argument
	BadF              Status = 3  // invalid handle, or a handle of the wrong kind
	BufLen            Status = 4  // output buffer too small; the needed size was written
	Unsupported       Status = 5  // not available here
	BadAlign          Status = 6  // misaligned pointer
	HTTPInvalid       Status = 7  // malformed HTTP message
	HTTPUser          Status = 8  // HTTP error caused by the guest
	HTTPIncomplete    Status = 9  // the message ended early
	None              Status = 10 // the optional value is absent
	HTTPHeadTooLarge  Status = 11
	HTTPInvalidStatus Status = 12
	LimitExceeded     Status = 13
	Again             Status = 14 // not yet: try later
)

var statusNames = [...]string{"ok", "error", "inval", "badf", "buflen", "unsupported", "badalign", "httpinvalid",
	"httpuser", "httpincomplete", "none", "httpheadtoolarge", "httpinvalidstatus", "limitexceeded", "again"}

// String gives the ABI's name.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return "unknown status"
}

// InvalidHandle is no object's handle.
const InvalidHandle = 0xFFFFFFFE
