package servicebus

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry/internal/sbemu"
)

// administration is a small stand-in for the service's: it keeps what was put.
type administration struct {
	mu     sync.Mutex
	queues map[string]string // the description of each, as XML
	answer int               // instead of any answer, a status
	asked  []string
}

func (a *administration) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	name := strings.TrimPrefix(r.URL.Path, "/")
	a.asked = append(a.asked, r.Method+" "+name)
	if a.answer != 0 {
		w.WriteHeader(a.answer)
		_, _ = fmt.Fprintf(w, "<Error><Code>%d</Code><Detail>Manage,EntityRead claims\n  required for this operation.</Detail></Error>", a.answer)
		return
	}
	if !strings.HasPrefix(r.Header.Get("Authorization"), "SharedAccessSignature sr=") {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	description, there := a.queues[name]
	switch {
	case r.Method == http.MethodPut && there:
		w.WriteHeader(http.StatusConflict)
		return
	case r.Method == http.MethodPut:
		body, _ := io.ReadAll(r.Body)
		var entry struct {
			Content struct {
				Inner string `xml:",innerxml"`
			} `xml:"content"`
		}
		if err := xml.Unmarshal(body, &entry); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		a.queues[name] = entry.Content.Inner
		description = entry.Content.Inner
		w.WriteHeader(http.StatusCreated)
	case !there:
		_, _ = io.WriteString(w, `<feed xmlns="http://www.w3.org/2005/Atom"><title type="text">Publicly Listed Services</title></feed>`)
		return
	}
	_, _ = fmt.Fprintf(w, `<entry xmlns="http://www.w3.org/2005/Atom"><title>%s</title><content type="application/xml">%s</content></entry>`, name, description)
}

func administered(t *testing.T) (*administration, *Client) {
	t.Helper()
	a := &administration{queues: map[string]string{}}
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	limits := quick()
	limits.open = 20 * time.Second
	c, err := dial(Config{ConnectionString: theString, AdminURL: s.URL}, limits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return a, c
}

const namespaceXML = `xmlns="http://schemas.microsoft.com/netservices/2010/10/servicebus/connect" xmlns:i="http://www.w3.org/2001/XMLSchema-instance"`

func TestAQueueIsLookedAt(t *testing.T) {
	a, c := administered(t)
	a.queues["orders"] = `<QueueDescription ` + namespaceXML + `><LockDuration>PT2M</LockDuration>
		<RequiresDuplicateDetection>true</RequiresDuplicateDetection><RequiresSession>false</RequiresSession>
		<DefaultMessageTimeToLive>P10675199DT2H48M5.4775807S</DefaultMessageTimeToLive>
		<DeadLetteringOnMessageExpiration>true</DeadLetteringOnMessageExpiration>
		<DuplicateDetectionHistoryTimeWindow>PT10M</DuplicateDetectionHistoryTimeWindow><MaxDeliveryCount>2000</MaxDeliveryCount>
		<SizeInBytes>12</SizeInBytes><MessageCount>9</MessageCount><Status>Active</Status>
		<CreatedAt>2026-11-25T10:11:12Z</CreatedAt><UpdatedAt>2026-11-25T10:11:12Z</UpdatedAt><AccessedAt>0001-01-01T00:00:00</AccessedAt>
		<EnablePartitioning>true</EnablePartitioning><MaxMessageSizeInKilobytes>1024</MaxMessageSizeInKilobytes>
		<CountDetails xmlns:d2p1="http://schemas.microsoft.com/netservices/2011/06/servicebus">
		<d2p1:ActiveMessageCount>7</d2p1:ActiveMessageCount><d2p1:DeadLetterMessageCount>2</d2p1:DeadLetterMessageCount>
		<d2p1:ScheduledMessageCount>0</d2p1:ScheduledMessageCount><d2p1:TransferDeadLetterMessageCount>0</d2p1:TransferDeadLetterMessageCount>
		<d2p1:TransferMessageCount>0</d2p1:TransferMessageCount></CountDetails></QueueDescription>`
	got, err := c.Admin().Queue(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	want := QueueInfo{
		Name: "orders", Lock: 2 * time.Minute, DuplicateWindow: 10 * time.Minute, MaxDeliveries: 2000, DeadLetterOnExpiry: true,
		MaxMessageKiB: 1024, Partitioned: true, Created: time.Date(2026, 11, 25, 10, 11, 12, 0, time.UTC), Active: 7, Dead: 2,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := c.Admin().Queue(t.Context(), "missing"); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
}

func TestAQueueIsMadeOnce(t *testing.T) {
	a, c := administered(t)
	spec := QueueSpec{
		Name: "ferry.messages.orders", Lock: 5 * time.Minute, DuplicateWindow: 90 * time.Second, MaxDeliveries: 2000,
		TimeToLive: 14 * 24 * time.Hour, DeadLetterOnExpiry: true, MaxMessageKiB: 2048,
	}
	if made, err := c.Admin().Create(t.Context(), spec); err != nil || !made {
		t.Fatalf("made %t: %v", made, err)
	}
	for _, want := range []string{
		"<LockDuration>PT5M<", "<RequiresDuplicateDetection>true<", "<DuplicateDetectionHistoryTimeWindow>PT1M30S<",
		"<MaxDeliveryCount>2000<", "<DefaultMessageTimeToLive>P14D<", "<DeadLetteringOnMessageExpiration>true<", "<MaxMessageSizeInKilobytes>2048<",
	} {
		if !strings.Contains(a.queues[spec.Name], want) {
			t.Errorf("%s is not in %s", want, a.queues[spec.Name])
		}
	}
	if made, err := c.Admin().Create(t.Context(), spec); err != nil || made {
		t.Errorf("made again %t: %v", made, err)
	}
	if made, err := c.Admin().Create(t.Context(), QueueSpec{Name: "plain"}); err != nil || !made {
		t.Errorf("made %t: %v", made, err)
	}
	if got := a.queues["plain"]; strings.Contains(got, "Duplicate") || strings.Contains(got, "LockDuration") || strings.Contains(got, "MaxDelivery") {
		t.Errorf("what was not asked for was set: %s", got)
	}
}

func TestTheAdministrationRefuses(t *testing.T) {
	a, c := administered(t)
	for status, want := range map[int]error{
		http.StatusUnauthorized: ErrUnauthorized, http.StatusForbidden: ErrUnauthorized, http.StatusBadRequest: ErrRefused,
		http.StatusTooManyRequests: ErrThrottled, http.StatusServiceUnavailable: ErrThrottled, http.StatusInternalServerError: ErrUnavailable,
	} {
		a.mu.Lock()
		a.answer = status
		a.mu.Unlock()
		_, err := c.Admin().Queue(t.Context(), "orders")
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "claims required for this") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%d: %v", status, err)
		}
		if made, err := c.Admin().Create(t.Context(), QueueSpec{Name: "orders"}); !errors.Is(err, want) || made {
			t.Errorf("%d: made %t: %v", status, made, err)
		}
	}
}

func TestTheAdministrationOfAnEmulatorIsHTTPAtItsOwnPort(t *testing.T) {
	for _, c := range []struct{ connection, want string }{
		{"Endpoint=sb://localhost:5672;SharedAccessKeyName=a;SharedAccessKey=b;UseDevelopmentEmulator=true", "http://localhost:5300"},
		{theString, ""},
	} {
		client, err := Dial(Config{ConnectionString: c.connection})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if to := client.adminTransport().to; to != nil {
			got = to.String()
		}
		if got != c.want {
			t.Errorf("%s goes to %q", c.connection, got)
		}
		_ = client.Close(t.Context())
	}
}

// The same against the double, which has an administration of its own and checks
// tokens.
func TestTheDoubleIsAdministrated(t *testing.T) {
	server, trust := certificate(t)
	for name, tune := range map[string]func(*sbemu.Options, *Config){
		"HTTP":  func(*sbemu.Options, *Config) {},
		"HTTPS": func(o *sbemu.Options, c *Config) { o.TLS, c.TLS = server, trust },
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, func(o *sbemu.Options, c *Config, _ *timing) {
				tune(o, c)
				o.Policies = map[string]sbemu.Policy{
					sbemu.RootPolicy: {Keys: []string{"root"}, Rights: sbemu.Manage},
					"worker":         {Keys: []string{"w"}, Rights: sbemu.Listen | sbemu.Send},
				}
			})
			cfg := d.client.cfg
			cfg.AdminURL = strings.ToLower(name) + "://" + d.emu.Addr()
			root := d.dial(cfg, quick()).Admin()
			spec := QueueSpec{Name: "ferry.receipts", Lock: time.Minute, DuplicateWindow: time.Minute, MaxDeliveries: 100, DeadLetterOnExpiry: true}
			for _, want := range []bool{true, false} {
				if made, err := root.Create(d.soon(), spec); err != nil || made != want {
					t.Fatalf("made %t: %v", made, err)
				}
			}
			if err := d.client.Sender(spec.Name).Send(d.soon(), messages(0, 3)); err != nil {
				t.Fatal(err)
			}
			got, err := root.Queue(d.soon(), spec.Name)
			if err != nil || got.Lock != spec.Lock || got.DuplicateWindow != spec.DuplicateWindow || got.MaxDeliveries != 100 ||
				!got.DeadLetterOnExpiry || got.Active != 3 || got.Dead != 0 || got.TimeToLive != 0 || time.Since(got.Created) > time.Hour {
				t.Errorf("%+v: %v", got, err)
			}
			if _, err := root.Queue(d.soon(), "missing"); !errors.Is(err, ErrNotFound) {
				t.Errorf("%v", err)
			}
			cfg.ConnectionString = d.emu.ConnectionStringOf("worker")
			worker := d.dial(cfg, quick()).Admin()
			if _, err := worker.Queue(d.soon(), spec.Name); !errors.Is(err, ErrUnauthorized) {
				t.Errorf("%v", err)
			}
			if _, err := worker.Create(d.soon(), QueueSpec{Name: "another"}); !errors.Is(err, ErrUnauthorized) {
				t.Errorf("%v", err)
			}
		})
	}
}
