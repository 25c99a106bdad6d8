package atom

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus/admin"
	"github.com/Azure/go-amqp"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"ferry/internal/sbemu/entity"
	"ferry/internal/sbemu/sas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "a2V5"

// detour carries requests for a namespace to a server of the test.
type detour struct {
	to   string
	http *http.Client
}

// Do is what the SDK calls.
func (d detour) Do(r *http.Request) (*http.Response, error) {
	r.URL.Scheme, r.URL.Host = "http", d.to
	return d.http.Do(r)
}

type bench struct {
	ns     *entity.Namespace
	server *httptest.Server
	client *admin.Client
	now    time.Time
}

// setup is a namespace, and the SDK's client of its administration with one key.
func setup(t *testing.T, o Options, with string) *bench {
	t.Helper()
	b := &bench{now: time.Date(2026, 11, 3, 8, 0, 0, 0, time.UTC)}
	b.ns = entity.New(entity.Options{Now: func() time.Time { return b.now }})
	t.Cleanup(b.ns.Close)
	b.server = httptest.NewServer(New(b.ns, o))
	t.Cleanup(b.server.Close)
	client, err := admin.NewClientFromConnectionString(
		"Endpoint=sb://ferry-test.servicebus.windows.net/;SharedAccessKeyName=root;SharedAccessKey="+with,
		&admin.ClientOptions{ClientOptions: azcore.ClientOptions{
			Transport: detour{b.server.Listener.Addr().String(), b.server.Client()},
			Retry:     policy.RetryOptions{MaxRetries: -1},
		}})
	if err != nil {
		t.Fatal(err)
	}
	b.client = client
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantStatus(t *testing.T, err error, status int, text string) {
	t.Helper()
	got, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok || got.StatusCode != status || !strings.Contains(got.Error(), text) {
		t.Fatalf("got %v, want status %d with %q", err, status, text)
	}
}

func TestAQueueFromItsMakingToItsEnd(t *testing.T) {
	b := setup(t, Options{}, key)
	ctx := t.Context()
	if got, err := b.client.GetQueue(ctx, "orders", nil); err != nil || got != nil {
		t.Fatalf("%v, %v", got, err)
	}
	if got, err := b.client.GetQueueRuntimeProperties(ctx, "orders", nil); err != nil || got != nil {
		t.Fatalf("%v, %v", got, err)
	}
	asked := &admin.QueueProperties{
		LockDuration: new("PT1M30S"), MaxSizeInMegabytes: new(int32(2048)), RequiresDuplicateDetection: new(true), RequiresSession: new(true),
		DefaultMessageTimeToLive: new("P14DT1H"), DeadLetteringOnMessageExpiration: new(true), DuplicateDetectionHistoryTimeWindow: new("PT20S"),
		MaxDeliveryCount: new(int32(2000)), Status: new(admin.EntityStatusSendDisabled), UserMetadata: new("made by <hand>"),
		MaxMessageSizeInKilobytes: new(int64(1024)), EnablePartitioning: new(true),
	}
	made, err := b.client.CreateQueue(ctx, "Ferry.Orders", &admin.CreateQueueOptions{Properties: asked})
	must(t, err)
	q, err := b.ns.Queue("ferry.orders")
	must(t, err)
	want := entity.Config{
		Name: "Ferry.Orders", LockDuration: 90 * time.Second, MaxDelivery: 2000, DefaultTTL: 14*24*time.Hour + time.Hour, DeadLetterOnExpiry: true,
		DuplicateWindow: 20 * time.Second, RequiresSession: true, MaxMessageBytes: 1 << 20, MaxBatchBytes: 1 << 20, MaxSizeBytes: 2 << 30,
		Partitioned: true, Status: entity.SendDisabled, UserMetadata: "made by <hand>",
	}
	if diff := cmp.Diff(want, q.Config()); diff != "" {
		t.Fatal(diff)
	}
	got, err := b.client.GetQueue(ctx, "ferry.orders", nil)
	must(t, err)
	shown := *asked
	shown.EnableBatchedOperations, shown.AutoDeleteOnIdle = new(true), new("P10675199DT2H48M5.4775807S")
	for _, p := range []admin.QueueProperties{made.QueueProperties, got.QueueProperties} {
		if diff := cmp.Diff(shown, p); diff != "" {
			t.Fatal(diff)
		}
	}

	_, err = b.client.CreateQueue(ctx, "FERRY.ORDERS", nil)
	wantStatus(t, err, http.StatusConflict, "exists")
	_, err = b.client.UpdateQueue(ctx, "ferry.orders", admin.QueueProperties{RequiresSession: new(false)}, nil)
	wantStatus(t, err, http.StatusBadRequest, "not allowed")
	b.now = b.now.Add(time.Hour)
	updated, err := b.client.UpdateQueue(ctx, "ferry.orders", admin.QueueProperties{LockDuration: new("PT5M"), Status: new(admin.EntityStatusActive)}, nil)
	must(t, err)
	want.LockDuration, want.Status = 5*time.Minute, entity.Active
	if diff := cmp.Diff(want, q.Config()); diff != "" {
		t.Fatal(diff) // what was not said stays
	}
	if *updated.LockDuration != "PT5M" {
		t.Fatalf("lock %s", *updated.LockDuration)
	}
	_, err = b.client.UpdateQueue(ctx, "missing", admin.QueueProperties{}, nil)
	wantStatus(t, err, http.StatusNotFound, "no such")

	_, err = b.client.DeleteQueue(ctx, "FERRY.orders", nil)
	must(t, err)
	_, err = b.client.DeleteQueue(ctx, "ferry.orders", nil)
	wantStatus(t, err, http.StatusNotFound, "no such")
}

func TestDefaultsAreTheServices(t *testing.T) {
	b := setup(t, Options{}, key)
	made, err := b.client.CreateQueue(t.Context(), "a/b", nil)
	must(t, err)
	forever := "P10675199DT2H48M5.4775807S"
	want := admin.QueueProperties{
		LockDuration: new("PT1M"), MaxSizeInMegabytes: new(int32(1024)), RequiresDuplicateDetection: new(false), RequiresSession: new(false),
		DefaultMessageTimeToLive: &forever, DeadLetteringOnMessageExpiration: new(false), DuplicateDetectionHistoryTimeWindow: new("PT10M"),
		MaxDeliveryCount: new(int32(10)), Status: new(admin.EntityStatusActive), EnableBatchedOperations: new(true), AutoDeleteOnIdle: &forever,
		EnablePartitioning: new(false), MaxMessageSizeInKilobytes: new(int64(256)),
	}
	if diff := cmp.Diff(want, made.QueueProperties); diff != "" {
		t.Fatal(diff)
	}
	// What was got can be put back as it is.
	if _, err := b.client.UpdateQueue(t.Context(), "a/b", made.QueueProperties, nil); err != nil {
		t.Fatal(err)
	}
	q, err := b.ns.Queue("a/b")
	must(t, err)
	if c := q.Config(); c.DefaultTTL != 0 || c.DuplicateWindow != 0 {
		t.Fatalf("%+v", c)
	}
}

func TestRuntimeProperties(t *testing.T) {
	b := setup(t, Options{}, key)
	q, err := b.ns.Create(entity.Config{Name: "orders"})
	must(t, err)
	made := b.now
	b.now = b.now.Add(time.Minute + 123456789*time.Nanosecond)
	for n := range 6 {
		m := amqp.NewMessage([]byte("x"))
		if n == 5 {
			m.Annotations = amqp.Annotations{"x-opt-scheduled-enqueue-time": b.now.Add(time.Hour)}
		}
		must(t, q.Send(entity.Incoming{Message: m, Size: 100}))
	}
	var got []entity.Delivery
	r, err := q.Main().Attach(entity.ReceiverOptions{Deliver: func(d entity.Delivery) { got = append(got, d) }})
	must(t, err)
	r.Flow(0, 3)
	must(t, q.Main().DeadLetter(got[0].Token, "why", "", nil))
	must(t, q.Main().Defer(got[1].Token, nil))
	const reasonBytes = 35 // the property that says why
	run, err := b.client.GetQueueRuntimeProperties(t.Context(), "orders", nil)
	must(t, err)
	want := admin.QueueRuntimeProperties{
		SizeInBytes: 600 + reasonBytes, CreatedAt: made, UpdatedAt: made, AccessedAt: b.now.Truncate(100 * time.Nanosecond),
		TotalMessageCount: 6, ActiveMessageCount: 4, DeadLetterMessageCount: 1, ScheduledMessageCount: 1,
	}
	if diff := cmp.Diff(want, run.QueueRuntimeProperties); diff != "" {
		t.Fatal(diff)
	}
}

func TestQueuesAreListedInPages(t *testing.T) {
	b := setup(t, Options{}, key)
	names := func(size int32) []int {
		var pages []int
		all := 0
		pager := b.client.NewListQueuesPager(&admin.ListQueuesOptions{MaxPageSize: size})
		for pager.More() {
			page, err := pager.NextPage(t.Context())
			must(t, err)
			pages = append(pages, len(page.Queues))
			for _, q := range page.Queues {
				if want := fmt.Sprintf("q%03d", all); q.QueueName != want || *q.LockDuration != "PT1M" {
					t.Fatalf("%s, lock %s; want %s", q.QueueName, *q.LockDuration, want)
				}
				all++
			}
		}
		return pages
	}
	if diff := cmp.Diff([]int{0}, names(2)); diff != "" {
		t.Fatal(diff)
	}
	for n := range 105 {
		_, err := b.ns.Create(entity.Config{Name: fmt.Sprintf("q%03d", n)})
		must(t, err)
	}
	if diff := cmp.Diff([]int{40, 40, 25}, names(40)); diff != "" {
		t.Fatal(diff)
	}
	if diff := cmp.Diff([]int{100, 5, 0}, names(0)); diff != "" {
		t.Fatal(diff)
	}
	pager := b.client.NewListQueuesRuntimePropertiesPager(nil)
	page, err := pager.NextPage(t.Context())
	must(t, err)
	if len(page.QueueRuntimeProperties) != 100 || !page.QueueRuntimeProperties[0].CreatedAt.Equal(b.now) {
		t.Fatalf("%d, %+v", len(page.QueueRuntimeProperties), page.QueueRuntimeProperties[0])
	}
}

// The JavaScript client takes no queue without all of these, wherever they stand.
func TestAQueueHasWhatOtherClientsAskFor(t *testing.T) {
	b := setup(t, Options{}, key)
	_, err := b.ns.Create(entity.Config{Name: "orders"})
	must(t, err)
	response, err := b.server.Client().Get(b.server.URL + "/orders?api-version=2021-05")
	must(t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	must(t, err)
	for _, part := range []string{
		`<title type="text">orders</title>`, `<content type="application/xml">`,
		`<QueueDescription xmlns="http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"`,
		"<LockDuration>PT1M</", "<MaxSizeInMegabytes>1024</", "<MaxDeliveryCount>10</", "<EnablePartitioning>false</", "<RequiresSession>false</",
		"<EnableBatchedOperations>true</", "<DefaultMessageTimeToLive>P1", "<AutoDeleteOnIdle>P1", "<RequiresDuplicateDetection>false</",
		"<DuplicateDetectionHistoryTimeWindow>PT10M</", "<DeadLetteringOnMessageExpiration>false</", "<Status>Active</", "<EnableExpress>false</",
		"<EntityAvailabilityStatus>Available</", "<IsAnonymousAccessible>false</", "<SizeInBytes>0</", "<MessageCount>0</",
		"<CreatedAt>2026-11-03T08:00:00Z</", "<UpdatedAt>2026-11-03T08:00:00Z</", "<AccessedAt>2026-11-03T08:00:00Z</",
		`<CountDetails xmlns:d2p1="http://schemas.microsoft.com/netservices/2011/06/servicebus">`, "<d2p1:ActiveMessageCount>0</", "<d2p1:DeadLetterMessageCount>0</",
	} {
		if !strings.Contains(string(text), part) {
			t.Errorf("%s is not in %s", part, text)
		}
	}
}

func TestNamespaceInfo(t *testing.T) {
	b := setup(t, Options{}, key)
	got, err := b.client.GetNamespaceProperties(t.Context(), nil)
	must(t, err)
	want := admin.NamespaceProperties{CreatedTime: b.now, ModifiedTime: b.now, SKU: "Standard", Name: "ferry-test"}
	if diff := cmp.Diff(want, got.NamespaceProperties); diff != "" {
		t.Fatal(diff)
	}
	b = setup(t, Options{Name: "mine", SKU: "Premium"}, key)
	got, err = b.client.GetNamespaceProperties(t.Context(), nil)
	must(t, err)
	if got.Name != "mine" || got.SKU != "Premium" || got.MessagingUnits == nil || *got.MessagingUnits != 1 {
		t.Fatalf("%+v", got)
	}
}

func TestOnlyWhoMayIsServed(t *testing.T) {
	var asked []string
	check := Options{Check: func(r *http.Request, queue string) error {
		asked = append(asked, queue)
		_, err := sas.Verify(r.Header.Get("Authorization"), r.URL.Path, time.Now(), 24*time.Hour, func(policy string) []string {
			if policy == "root" {
				return []string{key}
			}
			return nil
		})
		return err
	}}
	good := setup(t, check, key)
	_, err := good.client.CreateQueue(t.Context(), "orders", nil)
	must(t, err)
	_, err = good.client.GetNamespaceProperties(t.Context(), nil)
	must(t, err)
	if _, err = good.client.NewListQueuesPager(nil).NextPage(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"orders", "", ""}, asked); diff != "" {
		t.Fatal(diff)
	}
	bad := setup(t, check, "b3RoZXI=")
	_, err = bad.client.CreateQueue(t.Context(), "orders", nil)
	wantStatus(t, err, http.StatusUnauthorized, sas.ErrSignature.Error())
	_, err = bad.client.GetQueue(t.Context(), "orders", nil)
	wantStatus(t, err, http.StatusUnauthorized, "")
	_, err = bad.client.DeleteQueue(t.Context(), "orders", nil)
	wantStatus(t, err, http.StatusUnauthorized, "")
	if len(bad.ns.Queues()) != 0 {
		t.Fatal("it was made")
	}
}

func TestWhatIsRefused(t *testing.T) {
	b := setup(t, Options{}, key)
	_, err := b.ns.Create(entity.Config{Name: "there"})
	must(t, err)
	queue := func(inner string) string {
		return `<entry xmlns="http://www.w3.org/2005/Atom"><content type="application/xml"><QueueDescription xmlns="` + nsQueue + `">` + inner + `</QueueDescription></content></entry>`
	}
	for _, c := range []struct {
		name, method, path, body string
		status                   int
	}{
		{"no entry", "PUT", "/q", "hello", 400},
		{"nothing", "PUT", "/q", "", 400},
		{"another document", "PUT", "/q", "<feed/>", 400},
		{"no queue in it", "PUT", "/q", `<entry xmlns="http://www.w3.org/2005/Atom"><content/></entry>`, 400},
		{"no span", "PUT", "/q", queue("<LockDuration>1 minute</LockDuration>"), 400},
		{"a lock too long", "PUT", "/q", queue("<LockDuration>PT6M</LockDuration>"), 400},
		{"no number", "PUT", "/q", queue("<MaxDeliveryCount>many</MaxDeliveryCount>"), 400},
		{"below zero", "PUT", "/q", queue("<MaxDeliveryCount>-1</MaxDeliveryCount>"), 400},
		{"no size", "PUT", "/q", queue("<MaxSizeInMegabytes>0</MaxSizeInMegabytes>"), 400},
		{"too much of it", "PUT", "/q", queue("<MaxSizeInMegabytes>9223372036854775807</MaxSizeInMegabytes>"), 400},
		{"a status of its own", "PUT", "/q", queue("<Status>Sleeping</Status>"), 400},
		{"forwarding", "PUT", "/q", queue("<ForwardTo>sb://x/y</ForwardTo>"), 400},
		{"too large", "PUT", "/q", queue("<UserMetadata>" + strings.Repeat("x", maxBody) + "</UserMetadata>"), 400},
		{"a bad name", "PUT", "/a b", queue(""), 400},
		{"topics", "GET", "/$Resources/topics", "", 404},
		{"the root", "GET", "/", "", 404},
		{"another method", "POST", "/there", "", 405},
		{"a list from nowhere", "GET", "/$Resources/queues?$skip=-1", "", 400},
		{"a list of words", "GET", "/$Resources/queues?$top=x", "", 400},
		{"a list from far on", "GET", "/$Resources/queues?$skip=99&$top=9999999", "", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := http.NewRequest(c.method, b.server.URL, strings.NewReader(c.body))
			must(t, err)
			r.URL.Path, r.URL.RawQuery, _ = strings.Cut(c.path, "?")
			response, err := b.server.Client().Do(r)
			must(t, err)
			defer func() { _ = response.Body.Close() }()
			text, err := io.ReadAll(response.Body)
			must(t, err)
			if response.StatusCode != c.status || c.status >= 400 && !strings.HasPrefix(string(text), fmt.Sprintf("<Error><Code>%d</Code><Detail>", c.status)) {
				t.Fatalf("%d %s", response.StatusCode, text)
			}
			if n := len(b.ns.Queues()); n != 1 {
				t.Fatalf("%d queues", n)
			}
		})
	}
}

func TestSpans(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"PT1M": time.Minute, "PT30S": 30 * time.Second, "PT60S": time.Minute, "P14D": 14 * 24 * time.Hour, "P1DT2H3M4.5S": 26*time.Hour + 3*time.Minute + 4500*time.Millisecond,
		"PT0.001S": time.Millisecond, forever: 0, " PT5M ": 5 * time.Minute, "P106000D": 0, "PT0S": 0,
	} {
		if got, err := parseSpan(text); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "P", "PT", "1M", "P1Y", "P1W", "-PT1M", "PT1H1D", "PT99999999999S", "PT1.S", "forever"} {
		if got, err := parseSpan(text); err == nil {
			t.Errorf("%q was read as %s", text, got)
		}
	}
	for d, want := range map[time.Duration]string{
		0: forever, time.Minute: "PT1M", 90 * time.Second: "PT1M30S", 48 * time.Hour: "P2D", 25*time.Hour + 1500*time.Millisecond: "P1DT1H1.5S",
	} {
		if got := writeSpan(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}
