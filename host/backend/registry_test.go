package backend

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"sync"
	"testing"
	"time"
)

func tlsRoots(a *authority) []*x509.Certificate { return []*x509.Certificate{a.cert} }

func TestSet(t *testing.T) {
	s, err := NewSet(Options{}, Config{Name: "b", Host: "h"}, Config{Name: "a", Host: "h"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Lookup("a").Name() != "a" || s.Lookup("c") != nil || fmt.Sprint(s.Names()) != "[a b]" || (*Set)(nil).Lookup("a") != nil {
		t.Errorf("names %v", s.Names())
	}
	for _, bad := range [][]Config{{{Host: "h"}}, {{Name: "a", Host: "h"}, {Name: "a", Host: "h"}}, {{Name: "a"}}} {
		if _, err := NewSet(Options{}, bad...); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

func TestEqualDefinitionsShareConnections(t *testing.T) {
	noLeak(t)
	conf := httpOrigin(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "x") })
	r := NewRegistry(RegistryOptions{})
	defer r.Close()
	var wg sync.WaitGroup
	var first *Backend
	for i := range 20 {
		c := conf
		c.Name = fmt.Sprint("name", i)
		b, release, err := r.Acquire(c)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b
		}
		mustGet(t, b, &Request{})
		wg.Go(func() { release(); release() })
		wg.Wait()
	}
	if s := first.Stats(); s.Connections != 1 || s.Requests != 20 || r.Len() != 1 {
		t.Errorf("%+v, %d backends", s, r.Len())
	}
	conf.DontPool = true
	a, releaseA, _ := r.Acquire(conf)
	b, releaseB, _ := r.Acquire(conf)
	if a == b || r.Len() != 3 {
		t.Errorf("not pooled, but shared: %d backends", r.Len())
	}
	releaseA()
	releaseB()
	if r.Len() != 1 {
		t.Errorf("%d backends are left", r.Len())
	}
}

func TestRegistryIsBounded(t *testing.T) {
	noLeak(t)
	r := NewRegistry(RegistryOptions{Max: 2, IdleTime: 50 * time.Millisecond})
	c := func(port int) Config { return Config{Host: "127.0.0.1", Port: uint16(port)} }
	_, release1, err1 := r.Acquire(c(1))
	_, _, err2 := r.Acquire(c(2))
	_, _, err3 := r.Acquire(c(3))
	if err1 != nil || err2 != nil || !errors.Is(err3, ErrTooMany) {
		t.Fatalf("got %v, %v, %v", err1, err2, err3)
	}
	release1()
	_, release3, err := r.Acquire(c(3))
	if err != nil {
		t.Fatalf("an unused one did not make room: %v", err)
	}
	release3()
	eventually(t, "the unused one goes", func() bool { return r.Len() == 1 })
	r.Close()
	release3()
	if _, _, err := r.Acquire(c(1)); !errors.Is(err, ErrRegistryClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestRegistryUnderLoad(t *testing.T) {
	noLeak(t)
	r := NewRegistry(RegistryOptions{Max: 8, IdleTime: time.Millisecond})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				_, release, err := r.Acquire(Config{Host: "127.0.0.1", Port: uint16(1 + (i+j)%5), DontPool: j%10 == 0})
				if err != nil && !errors.Is(err, ErrTooMany) {
					t.Error(err)
				}
				if err == nil {
					release()
				}
			}
		})
	}
	wg.Wait()
	r.Close()
}

// Each field of a definition but the name must count, so the fields are changed one by one.
func TestEveryFieldButTheNameIsPartOfTheKey(t *testing.T) {
	ca := newAuthority(t, "ca")
	pair := ca.issue(t, false, "x")
	base := func() Config {
		return Config{Host: "h", TLS: &TLS{SNI: ptr("s")}, KeepAlive: KeepAlive{TCP: &TCPKeepAlive{}}, HealthCheck: &HealthCheck{}}
	}
	keyOf := func(c Config) key { c = c.withDefaults(); return c.key() }
	want := keyOf(base())
	var walk func(path string, at func(*Config) reflect.Value)
	walk = func(path string, at func(*Config) reflect.Value) {
		c := base()
		v := at(&c)
		switch v.Kind() {
		case reflect.Pointer:
			if v.Type() == reflect.TypeFor[*tls.Certificate]() {
				v.Set(reflect.ValueOf(&pair))
				break
			}
			walk(path, func(c *Config) reflect.Value { return at(c).Elem() })
			return
		case reflect.Struct:
			for i := range v.NumField() {
				walk(path+"."+v.Type().Field(i).Name, func(c *Config) reflect.Value { return at(c).Field(i) })
			}
			return
		case reflect.String:
			v.SetString("other")
		case reflect.Bool:
			v.SetBool(!v.Bool())
		case reflect.Slice:
			v.Set(reflect.ValueOf(tlsRoots(ca)))
		default:
			if v.CanInt() {
				v.SetInt(int64(time.Second) * 99)
				if path == ".HealthCheck.Window" || path == ".HealthCheck.Initial" || path == ".HealthCheck.Threshold" || path == ".HealthCheck.Status" {
					v.SetInt(1)
				}
			} else {
				v.SetUint(77)
			}
		}
		if same := keyOf(c) == want; same != (path == ".Name") {
			t.Errorf("%s: equal %v", path, same)
		}
	}
	walk("", func(c *Config) reflect.Value { return reflect.ValueOf(c).Elem() })
	same := base()
	same.Port, same.ConnectTimeout, same.TLS.CertHost = 443, DefaultConnectTimeout, "h:443"
	if keyOf(same) != want {
		t.Error("saying the defaults makes a difference")
	}
}

func FuzzListItems(f *testing.F) {
	f.Add(`a, b; c="d,\"e", , "`)
	f.Fuzz(func(t *testing.T, v string) {
		eachListItem(v, func(item string) {
			if item == "" {
				t.Errorf("an empty item in %q", v)
			}
		})
	})
}
