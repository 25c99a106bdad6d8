package sbqueue

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	sdkadmin "github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus/admin"

	"ferry/queue/queuetest"
)

// Where a namespace of its own is at hand, or Microsoft's emulator: the connection
// string needs the right Manage. Queues are made there, and deleted.
const (
	liveNamespace = "SERVICEBUS_CONNECTION_STRING"
	liveAdmin     = "SERVICEBUS_ADMIN_URL" // such as http://127.0.0.1:5300; default https at the namespace
)

// TestConformanceLive is TestConformance on the real thing.
func TestConformanceLive(t *testing.T) {
	if os.Getenv(liveNamespace) == "" {
		t.Skip(liveNamespace + " is not set")
	}
	queuetest.Run(t, queuetest.Harness{
		Lock:     5 * time.Second, // the shortest that the service takes
		Durable:  true,
		OneLogin: "policies of the namespace are its owner's to make: all use the one of " + liveNamespace,
		Open:     openLive,
	})
}

func openLive(tb testing.TB, dir string) *queuetest.Env {
	tb.Helper()
	e := &env{tb: tb, lock: 5 * time.Second, namespace: os.Getenv(liveNamespace), admin: os.Getenv(liveAdmin)}
	place := filepath.Join(dir, "prefix")
	text, err := os.ReadFile(place)
	if err != nil { // nobody was here before
		text = []byte("ferrytest-" + strings.ToLower(rand.Text()[:8]))
		if err := os.WriteFile(place, text, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	tb.Cleanup(e.deleteAll)
	e.names = names{string(text)}
	e.open()
	return e.Env
}

// deleteAll deletes the queues of this test.
func (e *env) deleteAll() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	detour := &detour{to: e.admin}
	client, err := sdkadmin.NewClientFromConnectionString(e.namespace, &sdkadmin.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: detour}})
	if err != nil {
		e.tb.Error(err)
		return
	}
	defer http.DefaultClient.CloseIdleConnections()
	e.mu.Lock()
	defer e.mu.Unlock()
	list, err := Queues(e.names.prefix, []string{"a", "b", "route-a", "route-b", "route-c"}, e.seen)
	if err != nil {
		e.tb.Error(err)
	}
	for _, name := range list {
		_, err := client.DeleteQueue(ctx, name, nil)
		if there, ok := errors.AsType[*azcore.ResponseError](err); err != nil && (!ok || there.StatusCode != http.StatusNotFound) {
			e.tb.Error(err)
		}
	}
}

// detour carries what the SDK sends to https at the namespace to where the
// administration is.
type detour struct{ to string }

func (d *detour) Do(r *http.Request) (*http.Response, error) {
	if d.to != "" {
		to, err := url.Parse(d.to)
		if err != nil {
			return nil, err
		}
		r.URL.Scheme, r.URL.Host, r.Host = to.Scheme, to.Host, ""
	}
	return http.DefaultClient.Do(r)
}
