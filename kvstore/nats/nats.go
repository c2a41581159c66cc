// Package nats is a driver of package kvstore that keeps everything in NATS JetStream: any number of processes share the
// stores, and a cluster of servers keeps them. It needs nats-server 2.11 or later.
//
// Each store is a stream of its own, and each key the last message of a subject. A key's generation is the message's sequence.
// Values of more than Options.Inline bytes are kept in parts beside it, which are written before the key's message and thus
// not seen before they are complete. Record and parts carry checksums of our own; what does not match is answered with
// kvstore.ErrCorrupt.
//
// Durability is the servers'. A JetStream server acknowledges a write before it syncs it to the disk, unless it is configured with
//
//	jetstream { sync_interval: always }
//
// Without that, a crash of the operating system or of the machine can lose writes of the last two minutes that were acknowledged,
// on one server, or on a cluster whose servers crash at once. Run it with that setting, and with Options.Replicas of
// 3 where there are 3 servers; nothing tells a client which setting is in force.
//
// Consistency: writes with a condition are decided by the stream's leader, in order. Lookup asks the leader. During a change
// of leaders a former one can, for the moment until it notices, answer with what was right before.
//
// Listing: a server cannot give keys in order, so a process that lists a store follows it: it loads all keys (not the values) when
// it first lists or when it was disconnected, and then holds them in memory, some 200 bytes for each, until Close. A strong List asks
// the leader how far the stream has come and waits until that has arrived; one with Eventual does not. Stat counts the same keys.
//
// Space: an expired or deleted key is removed by the server about ten minutes later. Parts of values that were replaced, deleted or
// never completed are removed by the processes that follow the store (those that listed it or wrote a large value)
// once they have been unused for Options.ReadGrace; until then a reader may go on.
//
// Errors: where the server does not answer, calls try again until their context ends or Options.Timeout is over. A write that
// was sent and whose answer never came fails with kvstore.ErrUnknown; before that it is sent again in a way that
// it takes effect once.
package nats

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/edgewasm/wasmedge/kvstore"
)

// Options says where the stores are and how to reach them. URL is needed; for the rest the zero value means the defaults named here.
type Options struct {
	// URL is that of a server, or of several separated by commas: nats://host:4222, tls://host:4222.
	URL string
	// Credentials is a file with the user's JWT and key, as nsc writes it; "" for none.
	Credentials string
	// TLS is used for the connection if it is not nil, whatever the URL says.
	TLS *tls.Config
	// Bucket keeps apart what several users of one account store: 1 to 32 letters, digits, - or _. "" means "kv".
	Bucket string
	// Replicas is on how many servers a new store is kept, 1 to 5; 0 means 1. Stores that exist are not changed.
	Replicas int
	// MaxBytes is the most bytes on the disk of each new store, parts that wait for removal included; 0 means no bound but the
	// account's. What does not fit is refused with kvstore.ErrReadOnly.
	MaxBytes int64
	// MaxValue is the most bytes of a value; 0 means kvstore.DefaultMaxValue. A larger one is refused with kvstore.ErrTooLarge.
	MaxValue int64
	// Inline is the most bytes of a value that is kept in its key's message; 0 means 64 KiB. It is cut to what the server's
	// max_payload leaves room for.
	Inline int64
	// MaxKeys is the most keys of a store that this process holds in memory for listing; 0 means 10,000,000. List and Stat of a
	// store with more fail.
	MaxKeys int
	// Timeout is how long a call waits for the server, beside its context: for each message, not for reading a value. 0 means
	// 5 seconds, the most is 1 minute.
	Timeout time.Duration
	// ReadGrace is how long parts of a value are kept that has been replaced, for those who are reading it; 0 means 10
	// minutes, the least is twice Timeout. Writing a value that is not Inline must not take longer than half of it.
	ReadGrace time.Duration
	// Name is what the server shows for the connection; "" means "kvstore".
	Name string
}

const (
	bucketChars   = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	overhead      = 8 << 10 // bytes of a message beside the value: headers, metadata, subject
	defaultInline = 64 << 10
	partSize      = 128 << 10
	// removeAfter is how long the server keeps the message of a key that was deleted or has expired. It covers clocks that differ, and
	// what a process that follows the store may lag behind.
	removeAfter = 10 * time.Minute
)

func (o *Options) complete() error {
	def := func(n *int64, to int64) {
		if *n == 0 {
			*n = to
		}
	}
	if o.Bucket == "" {
		o.Bucket = "kv"
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.MaxKeys == 0 {
		o.MaxKeys = 10_000_000
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.ReadGrace == 0 {
		o.ReadGrace = 10 * time.Minute
	}
	if o.Name == "" {
		o.Name = "kvstore"
	}
	def(&o.MaxValue, kvstore.DefaultMaxValue)
	def(&o.Inline, defaultInline)
	switch {
	case o.URL == "":
		return errors.New("option URL is empty")
	case len(o.Bucket) > 32 || strings.Trim(o.Bucket, bucketChars) != "":
		return fmt.Errorf("option Bucket %.40q is not 1 to 32 letters, digits, - or _", o.Bucket)
	case o.Replicas < 1 || o.Replicas > 5:
		return fmt.Errorf("option Replicas is %d, not 1 to 5", o.Replicas)
	case o.MaxBytes < 0 || o.MaxValue < 0 || o.Inline < 0 || o.MaxKeys < 0 || o.ReadGrace < 0:
		return errors.New("option MaxBytes, MaxValue, Inline, MaxKeys or ReadGrace is negative")
	case o.Timeout < 0 || o.Timeout > time.Minute:
		return fmt.Errorf("option Timeout is %v, not within a minute", o.Timeout)
	case o.ReadGrace < 2*o.Timeout:
		return fmt.Errorf("option ReadGrace is %v, less than twice Timeout, %v", o.ReadGrace, o.Timeout)
	}
	return nil
}

// Stores implements kvstore.Stores. Make one with New.
type Stores struct {
	o      Options
	nc     *client.Conn
	js     jetstream.JetStream
	inline int64
	part   int64

	life context.Context // ends with Close
	end  context.CancelCauseFunc
	busy sync.WaitGroup // goroutines

	directory *store

	mu     sync.Mutex
	opened map[string]*store // by stream
	// link ends when the connection is lost, and is made anew. Answers that are waited for do not come then; and what
	// follows a stream may miss something.
	link context.Context
	cut  context.CancelFunc
}

var _ kvstore.Stores = (*Stores)(nil)

// New connects to a server and checks that it has JetStream. ctx bounds that alone; afterwards a lost connection is made anew for
// as long as it takes.
func New(ctx context.Context, o Options) (*Stores, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("kvstore/nats: %w", err)
	}
	s := &Stores{o: o, opened: map[string]*store{}}
	s.life, s.end = context.WithCancelCause(context.Background())
	s.link, s.cut = context.WithCancel(s.life)
	lost := func(*client.Conn, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.cut()
		s.link, s.cut = context.WithCancel(s.life)
	}
	timeout := min(o.Timeout, longest)
	if d, ok := ctx.Deadline(); ok {
		timeout = min(timeout, max(time.Until(d), time.Millisecond))
	}
	options := []client.Option{
		client.Name(o.Name), client.Timeout(timeout),
		client.MaxReconnects(-1), client.ReconnectWait(100 * time.Millisecond), client.ReconnectJitter(50*time.Millisecond, 200*time.Millisecond),
		client.ReconnectBufSize(-1), // what cannot be sent now fails now, rather than being sent after the caller gave up
		client.PingInterval(20 * time.Second), client.MaxPingsOutstanding(2),
		client.DisconnectErrHandler(lost),
		client.ErrorHandler(func(*client.Conn, *client.Subscription, error) {}), // each call has its own error
	}
	if o.Credentials != "" {
		options = append(options, client.UserCredentials(o.Credentials))
	}
	if o.TLS != nil {
		options = append(options, client.Secure(o.TLS))
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	nc, err := client.Connect(o.URL, options...)
	if err != nil {
		var in *url.Error
		if errors.As(err, &in) { // it quotes the URL
			err = in.Err
		}
		return nil, fmt.Errorf("connecting to %s: %w", redact(o.URL), err)
	}
	s.nc = nc
	fail := func(err error) (*Stores, error) {
		nc.Close()
		return nil, fmt.Errorf("using JetStream at %s: %w", redact(o.URL), err)
	}
	if s.js, err = jetstream.New(nc); err != nil {
		return fail(err)
	}
	if v := nc.ConnectedServerVersion(); !atLeast(v, 2, 11) {
		return fail(fmt.Errorf("the server is version %.20q, 2.11 is needed", v))
	}
	room := nc.MaxPayload() - overhead
	if room < 1024 {
		return fail(fmt.Errorf("the server's max_payload of %d bytes is too small", nc.MaxPayload()))
	}
	s.inline, s.part = min(o.Inline, room), min(partSize, room)
	if err := s.makeDirectory(ctx); err != nil {
		return fail(err)
	}
	return s, nil
}

// redact takes passwords and tokens out of a URL.
func redact(urls string) string {
	list := strings.Split(urls, ",")
	for i, one := range list {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil {
			list[i] = "(a URL that does not parse)"
			continue
		}
		if u.User != nil {
			u.User = url.User("...")
		}
		list[i] = u.String()
	}
	return strings.Join(list, ",")
}

// atLeast compares a server's version.
func atLeast(version string, major, minor int) bool {
	var a, b int
	if _, err := fmt.Sscanf(strings.TrimPrefix(version, "v"), "%d.%d", &a, &b); err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}

// begin checks what every call checks first.
func (s *Stores) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.life.Err() != nil {
		return kvstore.ErrClosed
	}
	return nil
}

// The directory is a stream as that of a store, whose keys are the stores' names. A store's record holds the id that its stream and
// subjects are named after; one whose stream is missing counts as absent. A store that is dropped and created again has another id, so that
// those who opened the former notice.

// directoryStream is the name of the directory.
func directoryStream(bucket string) string { return bucket + "-stores" }

// root is the beginning of the subjects of all stores of that name, root plus id that of one.
func (s *Stores) root(name string) string {
	sum := sha256.Sum256([]byte(name))
	return s.o.Bucket + ".s." + hex.EncodeToString(sum[:16])
}

func (s *Stores) streamOf(id string) string { return s.o.Bucket + "-" + id }

// makeDirectory makes the directory if it is not there yet.
func (s *Stores) makeDirectory(ctx context.Context) error {
	root, stream := s.o.Bucket+".stores", directoryStream(s.o.Bucket)
	err := s.createStream(ctx, stream, root, "the stores of package kvstore", nil)
	if errors.Is(err, kvstore.ErrStoreExists) { // with other settings
		err = nil
	}
	s.directory = newStore(s, "the directory", root, stream)
	return err
}

func (s *Stores) createStream(ctx context.Context, stream, root, description string, metadata map[string]string) error {
	config := jetstream.StreamConfig{
		Name:              stream,
		Description:       description,
		Subjects:          []string{root + ".>"},
		Storage:           jetstream.FileStorage,
		Replicas:          s.o.Replicas,
		MaxMsgsPerSubject: 1,
		MaxBytes:          -1,
		Discard:           jetstream.DiscardNew,
		Duplicates:        2 * time.Minute,
		AllowDirect:       true,
		AllowMsgTTL:       true,
		Metadata:          metadata,
	}
	if metadata != nil {
		// Generations go on growing when a store is created again: none takes a million writes each second.
		config.FirstSeq = uint64(max(time.Now().UnixMicro(), 1))
		if s.o.MaxBytes > 0 {
			config.MaxBytes = s.o.MaxBytes
		}
	}
	return s.retry(ctx, func(ctx context.Context) error {
		_, err := s.js.CreateStream(ctx, config)
		return err
	})
}

// find looks a store up in the directory; kvstore.ErrNoStore. The entry is that of the directory in any case.
func (s *Stores) find(ctx context.Context, name string) (id string, entry current, err error) {
	if entry, err = s.directory.load(ctx, name); err != nil {
		return "", entry, err
	}
	if !entry.live {
		return "", entry, kvstore.ErrNoStore
	}
	id = string(entry.data)
	var info streamInfo
	return id, entry, s.ask(ctx, "STREAM.INFO."+s.streamOf(id), struct{}{}, &info)
}

// Open implements kvstore.Stores.
func (s *Stores) Open(ctx context.Context, name string) (kvstore.Store, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if err := kvstore.CheckName(name); err != nil {
		return nil, fmt.Errorf("%w: %w", kvstore.ErrNoStore, err)
	}
	id, _, err := s.find(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("opening %.64q: %w", name, err)
	}
	return s.store(name, id)
}

// store gives the one store of an id.
func (s *Stores) store(name, id string) (kvstore.Store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() != nil {
		return nil, kvstore.ErrClosed
	}
	stream := s.streamOf(id)
	st := s.opened[stream]
	if st == nil {
		st = newStore(s, name, s.root(name)+"."+id, stream)
		s.opened[stream] = st
	}
	return st, nil
}

// Create implements kvstore.Stores.
func (s *Stores) Create(ctx context.Context, name string) (kvstore.Store, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if err := kvstore.CheckName(name); err != nil {
		return nil, err
	}
	id, err := s.create(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("creating %.64q: %w", name, err)
	}
	return s.store(name, id)
}

func (s *Stores) create(ctx context.Context, name string) (id string, err error) {
	_, entry, err := s.find(ctx, name)
	if err == nil {
		return "", kvstore.ErrStoreExists
	}
	if !errors.Is(err, kvstore.ErrNoStore) {
		return "", err
	}
	s.removeStray(ctx, name)
	id = nuid.Next()
	stream := s.streamOf(id)
	err = s.createStream(ctx, stream, s.root(name)+"."+id, "a store of package kvstore",
		map[string]string{"kvstore-name": hex.EncodeToString([]byte(name))})
	if err != nil {
		return "", err
	}
	// The stream is there; the directory decides whose stream it is.
	_, err = s.directory.put(ctx, name, &record{kind: inline, size: int64(len(id)), data: []byte(id)}, client.Header{}, &entry)
	if err == nil || errors.Is(err, kvstore.ErrUnknown) {
		return id, err
	}
	s.goes(func() { _ = s.retry(s.life, func(ctx context.Context) error { return s.js.DeleteStream(ctx, stream) }) })
	if errors.Is(err, errConflict) {
		err = kvstore.ErrStoreExists
	}
	return "", err
}

// removeStray removes streams that somebody made for a store of that name, and did not live to enter into the directory. What cannot be
// removed now is removed another time.
func (s *Stores) removeStray(ctx context.Context, name string) {
	var stray []string
	list := s.js.ListStreams(ctx, jetstream.WithStreamListSubject(s.root(name)+".>"))
	for info := range list.Info() {
		if time.Since(info.Created) > removeAfter {
			stray = append(stray, info.Config.Name)
		}
	}
	if len(stray) == 0 || list.Err() != nil {
		return
	}
	// By now a stream that is this old is entered, or never will be.
	id, _, err := s.find(ctx, name)
	for _, stream := range stray {
		if (err == nil || errors.Is(err, kvstore.ErrNoStore)) && stream != s.streamOf(id) {
			_ = s.js.DeleteStream(ctx, stream)
		}
	}
}

// Drop implements kvstore.Stores.
func (s *Stores) Drop(ctx context.Context, name string) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	if err := kvstore.CheckName(name); err != nil {
		return fmt.Errorf("%w: %w", kvstore.ErrNoStore, err)
	}
	if err := s.drop(ctx, name); err != nil {
		return fmt.Errorf("dropping %.64q: %w", name, err)
	}
	return nil
}

func (s *Stores) drop(ctx context.Context, name string) error {
	id, entry, err := s.find(ctx, name)
	if err == nil {
		stream := s.streamOf(id)
		if err = s.retry(ctx, func(ctx context.Context) error { return s.js.DeleteStream(ctx, stream) }); err == nil {
			s.forget(stream)
		}
	}
	if err != nil && (!errors.Is(err, kvstore.ErrNoStore) || !entry.live) {
		return err
	}
	// Without its stream the store is gone; this is for Names. Somebody may have created it again meanwhile.
	header := client.Header{}
	header.Set(headerDeleted, "1")
	header.Set(headerTTL, ttl(0))
	if _, put := s.directory.put(ctx, name, &record{kind: deleted}, header, &entry); put != nil && !errors.Is(put, errConflict) {
		return put
	}
	return err
}

// forget ends what this process does with a stream that is no more.
func (s *Stores) forget(stream string) {
	s.mu.Lock()
	st := s.opened[stream]
	delete(s.opened, stream)
	s.mu.Unlock()
	if st != nil {
		st.end(kvstore.ErrNoStore)
	}
}

// Names implements kvstore.Stores.
func (s *Stores) Names(ctx context.Context) ([]string, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	x, err := s.directory.follow(ctx, false)
	if err != nil {
		return nil, fmt.Errorf("listing the stores: %w", err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.keys.Keys(), nil // in order
}

// Close implements kvstore.Stores. Values still being read from parts fail with kvstore.ErrClosed.
func (s *Stores) Close() error {
	s.mu.Lock()
	s.end(kvstore.ErrClosed)
	opened := s.opened
	s.opened = nil
	s.mu.Unlock()
	for _, st := range opened {
		st.end(kvstore.ErrClosed)
	}
	s.directory.end(kvstore.ErrClosed)
	s.busy.Wait()
	s.nc.Close()
	return nil
}

// connection gives what ends when the present connection does.
func (s *Stores) connection() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link
}

// goes runs f in a goroutine that Close waits for. f ends when life does.
func (s *Stores) goes(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() == nil {
		s.busy.Go(f)
	}
}
