package blobbodies_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"ferry"
	"ferry/internal/azurite"
	"ferry/queue"
	"ferry/queue/blobbodies"
	"ferry/queue/queuetest"
)

func open(tb testing.TB, o blobbodies.Options) *blobbodies.Store {
	tb.Helper()
	s, err := blobbodies.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.EnsureContainer(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestBodies(t *testing.T) {
	var f *fake
	queuetest.RunBodies(t, queuetest.BodiesHarness{
		Open: func(tb testing.TB) queue.BodyStore {
			var url string
			f, url = startFake(tb)
			return open(tb, blobbodies.Options{SASURL: url + "?sig=secret"})
		},
		Alter: func(_ testing.TB, _ queue.BodyStore, name string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			data := bytes.Clone(f.blobs[name].data)
			data[len(data)/2] ^= 1
			f.blobs[name].data = data
		},
	})
}

func put(t *testing.T, s *blobbodies.Store, name string, b []byte) error {
	t.Helper()
	sum := sha256.Sum256(b)
	return s.Put(t.Context(), name, int64(len(b)), sum[:], func() (io.ReadCloser, error) { return ferry.NewBodyReader(b), nil })
}

func TestWhatIsThereIsNotUploadedAgain(t *testing.T) {
	f, url := startFake(t)
	s := open(t, blobbodies.Options{SASURL: url + "?sig=secret"})
	name := queue.BodyName(ferry.NewID(time.Now()), 1)
	b := bytes.Repeat([]byte("ferry"), 1<<20)
	for range 3 {
		if err := put(t, s, name, b); err != nil {
			t.Fatal(err)
		}
	}
	if f.puts != 1 {
		t.Errorf("uploaded %d times, want once", f.puts)
	}
}

func TestABrokenDownloadIsGoneOnWith(t *testing.T) {
	f, url := startFake(t)
	s := open(t, blobbodies.Options{SASURL: url + "?sig=secret"})
	name := queue.BodyName(ferry.NewID(time.Now()), 1)
	b := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	if err := put(t, s, name, b); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.broken = 1
	f.mu.Unlock()
	var got bytes.Buffer
	if err := s.Get(t.Context(), name, &got); err != nil || !bytes.Equal(got.Bytes(), b) {
		t.Errorf("%d bytes, %v; want the %d of the body", got.Len(), err, len(b))
	}
}

func TestStrangeBlobsStay(t *testing.T) {
	f, url := startFake(t)
	s := open(t, blobbodies.Options{SASURL: url + "?sig=secret"})
	if err := put(t, s, "report-2026.pdf", []byte("theirs")); err != nil {
		t.Fatal(err)
	}
	removed, err := s.Sweep(t.Context(), -time.Hour, func(string) bool { return false })
	if err != nil || removed != 0 || len(f.blobs) != 1 {
		t.Errorf("swept %d, %v, %d left; want what is not ours to stay", removed, err, len(f.blobs))
	}
}

func TestLifetimeEndsWhatIsWanted(t *testing.T) {
	f, url := startFake(t)
	s := open(t, blobbodies.Options{SASURL: url + "?sig=secret", Lifetime: 24 * time.Hour})
	old, young := queue.BodyName(ferry.NewID(time.Now()), 1), queue.BodyName(ferry.NewID(time.Now()), 1)
	for _, name := range []string{old, young} {
		if err := put(t, s, name, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	f.mu.Lock()
	f.blobs[old].at = time.Now().Add(-25 * time.Hour)
	f.mu.Unlock()
	removed, err := s.Sweep(t.Context(), time.Hour, func(string) bool { return true })
	if err != nil || removed != 1 || f.blobs[young] == nil {
		t.Errorf("swept %d, %v; want the old one alone", removed, err)
	}
}

func TestErrorsNameNoSecret(t *testing.T) {
	f, url := startFake(t)
	s := open(t, blobbodies.Options{SASURL: url + "?sig=secret"})
	name := queue.BodyName(ferry.NewID(time.Now()), 1)
	f.deny = true
	err := put(t, s, name, []byte("x"))
	if !errors.Is(err, queue.ErrUnauthorized) || strings.Contains(err.Error(), "secret") {
		t.Errorf("denied: %v, want ErrUnauthorized and no signature", err)
	}
	away, err := blobbodies.New(blobbodies.Options{SASURL: "http://127.0.0.1:1/account/bodies?sig=secret"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err = away.Get(ctx, name, io.Discard)
	if !errors.Is(err, queue.ErrUnavailable) || errors.Is(err, queue.ErrBodyMissing) || strings.Contains(err.Error(), "secret") {
		t.Errorf("away: %v, want ErrUnavailable and no signature", err)
	}
	if _, err := blobbodies.New(blobbodies.Options{ConnectionString: "AccountName=x;AccountKey=secret%%", Container: "b"}); ferry.CodeOf(err) != ferry.CodeBadConfig || strings.Contains(err.Error(), "secret") {
		t.Errorf("a malformed connection string: %v, want badConfig without it", err)
	}
}

// TestBodiesOnAzurite runs the same cases on Microsoft's emulator of the storage.
func TestBodiesOnAzurite(t *testing.T) {
	account := azurite.ConnectionString(azurite.Start(t))
	opened := 0
	queuetest.RunBodies(t, queuetest.BodiesHarness{
		Open: func(tb testing.TB) queue.BodyStore {
			opened++
			return open(tb, blobbodies.Options{ConnectionString: account, Container: fmt.Sprintf("bodies-%d", opened)})
		},
		Alter: func(tb testing.TB, _ queue.BodyStore, name string) {
			c, err := container.NewClientFromConnectionString(account, fmt.Sprintf("bodies-%d", opened), nil)
			if err == nil {
				_, err = c.NewBlockBlobClient(name).UploadStream(tb.Context(), strings.NewReader("something else"), nil)
			}
			if err != nil {
				tb.Fatal(err)
			}
		},
	})
}
