package erp_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest/practice"
	"ferry/adapters/erp"
	"ferry/secret"
)

// sapSystem is a gateway that answers the question for a token as told, and counts.
type sapSystem struct {
	mu      sync.Mutex
	token   string // the one that it takes; "" : none is asked for
	cookies []string
	fetch   func(w http.ResponseWriter, r *http.Request) // nil: gives token and cookies
	fetched []string                                     // method and path of the questions
	posts   []http.Header
	posted  func(w http.ResponseWriter, r *http.Request) // nil: 201
	uris    []string
}

func (s *sapSystem) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.uris = append(s.uris, r.RequestURI)
	token, cookies, fetch, posted := s.token, s.cookies, s.fetch, s.posted
	isFetch := r.Header.Get("X-Csrf-Token") == "Fetch"
	if isFetch {
		s.fetched = append(s.fetched, r.Method+" "+r.URL.Path)
	} else if r.Method == http.MethodPost {
		s.posts = append(s.posts, r.Header.Clone())
	}
	s.mu.Unlock()
	switch {
	case isFetch && fetch != nil:
		fetch(w, r)
	case isFetch:
		for _, c := range cookies {
			w.Header().Add("Set-Cookie", c)
		}
		w.Header().Set("X-Csrf-Token", token)
	case r.Method == http.MethodGet:
		_, _ = w.Write([]byte(`{"d":{"results":[]}}`))
	case token != "" && r.Header.Get("X-Csrf-Token") != token:
		w.Header().Set("X-Csrf-Token", "Required")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte("CSRF token validation failed: " + r.Header.Get("X-Csrf-Token")))
	case posted != nil:
		posted(w, r)
	default:
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{"d":{"No":"1"}}`))
	}
}

func (s *sapSystem) set(token string, cookies ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token, s.cookies = token, cookies
}

const sapPath = "/sap/opu/odata/sap/API_X_SRV"

func sapRoute(t *testing.T, s http.Handler) adapters.Adapter {
	t.Helper()
	return odataRoute(t, s, adapters.DestinationConfig{Dialect: "odata-sap", URL: sapPath, Client: "100"},
		adapters.RouteConfig{Entity: "A_Doc", Map: "{supplier}", KeyField: "Ref", KeyLength: 16, Reference: ".No"})
}

// TestSAPSession: a token is fetched once, by HEAD, and goes with all the cookies
// that came with it, the last of each name; the client is on every request.
func TestSAPSession(t *testing.T) {
	s := &sapSystem{token: "token-1234567890", cookies: []string{
		"sap-usercontext=sap-client=100; path=/", "SAP_SESSIONID_ABC_100=one%3d; path=/; secure; HttpOnly", "old=; Max-Age=0",
		"SAP_SESSIONID_ABC_100=two%3d; path=/", "lb=node7",
	}}
	adapter := sapRoute(t, s)
	for range 3 {
		if v := adapter.Deliver(t.Context(), odataCall("K")); v.Kind != ferry.Delivered || v.Reference != "1" {
			t.Fatalf("%+v", v)
		}
	}
	adapter.Lookup(t.Context(), odataCall("K"))
	if len(s.fetched) != 1 || s.fetched[0] != "HEAD "+sapPath+"/" {
		t.Errorf("the token was fetched %v", s.fetched)
	}
	for _, h := range s.posts {
		if h.Get("X-Csrf-Token") != "token-1234567890" || h.Get("Cookie") != "sap-usercontext=sap-client=100; SAP_SESSIONID_ABC_100=two%3d; lb=node7" {
			t.Errorf("token %q, cookies %q", h.Get("X-Csrf-Token"), h.Get("Cookie"))
		}
	}
	for _, uri := range s.uris {
		if strings.Count(uri, "sap-client=100") != 1 {
			t.Errorf("no client: %s", uri)
		}
	}
}

// TestSAPTokenIsFetchedAnewOnce: 403 with X-CSRF-Token: Required wrote nothing. It
// is fetched anew within the attempt, once; the cookies are replaced with it.
func TestSAPTokenIsFetchedAnewOnce(t *testing.T) {
	s := &sapSystem{token: "token-one-000", cookies: []string{"a=session-one"}}
	adapter := sapRoute(t, s)
	adapter.Deliver(t.Context(), odataCall("K"))
	s.set("token-two-000", "b=session-two")
	if v := adapter.Deliver(t.Context(), odataCall("K")); v.Kind != ferry.Delivered {
		t.Fatalf("%+v", v)
	}
	last := s.posts[len(s.posts)-1]
	if len(s.posts) != 3 || len(s.fetched) != 2 || last.Get("Cookie") != "b=session-two" {
		t.Errorf("%d posts, %v, cookies %q", len(s.posts), s.fetched, last.Get("Cookie"))
	}
	// A service that refuses every token: two posts, no third, and no message is to blame.
	s.posted = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("x-csrf-token", "required")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte("CSRF token validation failed: " + r.Header.Get("X-Csrf-Token")))
	}
	v := adapter.Deliver(t.Context(), odataCall("K"))
	if v.Kind != ferry.Unauthorized || v.Effect != ferry.EffectNone || len(s.posts) != 5 {
		t.Errorf("%+v after %d posts", v, len(s.posts))
	}
	if strings.Contains(v.Text, "token-two-000") || !strings.Contains(v.Text, "CSRF token is missing or over") {
		t.Errorf("text %q", v.Text)
	}
}

// TestSAPOtherForbidden: a 403 that asks for no token is no matter of the session.
func TestSAPOtherForbidden(t *testing.T) {
	for code, kind := range map[string]ferry.VerdictKind{"X/1": ferry.Unauthorized, "/IWFND/MED/170": ferry.Unauthorized} {
		s := &sapSystem{token: "token-1234567890", posted: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"error":{"code":"` + code + `","message":{"value":"no"}}}`))
		}}
		v := sapRoute(t, s).Deliver(t.Context(), odataCall("K"))
		if v.Kind != kind || v.Effect != ferry.EffectNone || len(s.posts) != 1 || len(s.fetched) != 1 {
			t.Errorf("%s: %+v after %d posts, %d fetches", code, v, len(s.posts), len(s.fetched))
		}
		if strings.Contains(code, "IWFND") && !strings.Contains(v.Text, "MAINT_SERVICE") {
			t.Errorf("%s: text %q", code, v.Text)
		}
	}
}

// TestSAPFetch: what the question for a token may be answered with.
func TestSAPFetch(t *testing.T) {
	give := func(w http.ResponseWriter) { w.Header().Set("X-Csrf-Token", "token-1234567890") }
	for name, c := range map[string]struct {
		fetch func(w http.ResponseWriter, r *http.Request)
		kind  ferry.VerdictKind
		code  string
		tries int
	}{
		"a token from an error answer": {func(w http.ResponseWriter, _ *http.Request) { give(w); w.WriteHeader(404) }, ferry.Delivered, "", 1},
		"only without a slash": {func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/") {
				w.WriteHeader(404)
				return
			}
			give(w)
		}, ferry.Delivered, "", 2},
		"only by GET": {func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.WriteHeader(405)
				return
			}
			give(w)
		}, ferry.Delivered, "", 3},
		"none is handed out":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) }, ferry.Delivered, "", 3},
		"the credentials":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, ferry.Unauthorized, "tokenRefused", 1},
		"forbidden everywhere": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, ferry.Unauthorized, "tokenRefused", 4},
		"down":                 {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, ferry.Unavailable, "tokenUnavailable", 1},
		"a wrong address":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, ferry.Unavailable, "tokenUnavailable", 4},
		"cut":                  {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, ferry.Unavailable, "tokenUnavailable", 1},
	} {
		s := &sapSystem{fetch: c.fetch}
		v := sapRoute(t, s).Deliver(t.Context(), odataCall("K"))
		if v.Kind != c.kind || v.Code != c.code || v.Kind != ferry.Delivered && v.Effect != ferry.EffectNone {
			t.Errorf("%s: %+v", name, v)
		}
		if len(s.fetched) != c.tries {
			t.Errorf("%s: %v", name, s.fetched)
		}
		if (v.Kind == ferry.Delivered) != (len(s.posts) == 1) {
			t.Errorf("%s: %d posts", name, len(s.posts))
		}
	}
}

// TestSAPCookiesAreBounded: no answer fills the memory, or a header.
func TestSAPCookiesAreBounded(t *testing.T) {
	cookies := make([]string, 0, 300)
	for i := range 300 {
		cookies = append(cookies, "c"+strings.Repeat("x", i)+"=v")
	}
	s := &sapSystem{token: "token-1234567890", cookies: append(cookies, "=x", "novalue")}
	sapRoute(t, s).Deliver(t.Context(), odataCall("K"))
	if got := s.posts[0].Get("Cookie"); strings.Count(got, ";") != 49 || len(got) > 16<<10 || strings.Contains(got, "novalue") {
		t.Errorf("%d cookies, %d bytes", strings.Count(got, ";")+1, len(got))
	}
}

// TestSAPOneFetchForMany: many deliveries wait for one fetch, and one of them that
// gives up does not end it for the others.
func TestSAPOneFetchForMany(t *testing.T) {
	release, asked := make(chan struct{}), make(chan struct{}, 100)
	var fetches atomic.Int64
	s := &sapSystem{fetch: func(w http.ResponseWriter, _ *http.Request) {
		fetches.Add(1)
		asked <- struct{}{}
		<-release
		w.Header().Set("X-Csrf-Token", "token-1234567890")
	}}
	adapter := sapRoute(t, s)
	const many = 50
	verdicts := make(chan ferry.Verdict, many)
	for i := range many {
		go func() {
			ctx := t.Context()
			if i == 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
				defer cancel()
			}
			verdicts <- adapter.Deliver(ctx, odataCall("K"))
		}()
	}
	<-asked
	v := <-verdicts // the one that gave up, while the others wait
	if v.Kind != ferry.Unavailable || v.Effect != ferry.EffectNone {
		t.Errorf("%+v", v)
	}
	close(release)
	for range many - 1 {
		if v := <-verdicts; v.Kind != ferry.Delivered {
			t.Errorf("%+v", v)
		}
	}
	if n := fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

// TestSAPSessionsAreOfOneDestination: neither token nor cookies go elsewhere.
func TestSAPSessionsAreOfOneDestination(t *testing.T) {
	one, two := &sapSystem{token: "token-one-000", cookies: []string{"a=session-one"}}, &sapSystem{token: "token-two-000", cookies: []string{"a=session-two"}}
	first, second := sapRoute(t, one), sapRoute(t, two)
	first.Deliver(t.Context(), odataCall("K"))
	second.Deliver(t.Context(), odataCall("K"))
	if one.posts[0].Get("Cookie") != "a=session-one" || two.posts[0].Get("Cookie") != "a=session-two" {
		t.Errorf("%q, %q", one.posts[0].Get("Cookie"), two.posts[0].Get("Cookie"))
	}
}

// TestSAPRequestID: 32 characters and a date, the same on every attempt and
// replay, another id for an edited body, the same key in the document.
func TestSAPRequestID(t *testing.T) {
	s := &sapSystem{}
	adapter := sapRoute(t, s)
	call := odataCall("a key that is longer than sixteen")
	for _, change := range []func(*adapters.Call){
		func(*adapters.Call) {},
		func(c *adapters.Call) { c.Number, c.Attempt, c.Generation = 7, 7, 2 },
		func(c *adapters.Call) { c.Revision = 2 },
	} {
		own := call
		change(&own)
		adapter.Deliver(t.Context(), own)
	}
	first, again, edited := s.posts[0], s.posts[1], s.posts[2]
	id := first.Get("RequestID")
	if len(id) != 32 || strings.Trim(id, "0123456789ABCDEF") != "" || again.Get("RequestID") != id || edited.Get("RequestID") == id {
		t.Errorf("%q, %q, %q", id, again.Get("RequestID"), edited.Get("RequestID"))
	}
	for _, h := range s.posts {
		if h.Get("RepeatabilityCreation") != "2026-11-26T08:30:15" {
			t.Errorf("RepeatabilityCreation %q", h.Get("RepeatabilityCreation"))
		}
		if h.Get("Idempotency-Key") != "" {
			t.Error("an Idempotency-Key lets net/http send a request twice")
		}
	}
	none := &sapSystem{}
	odataRoute(t, none, adapters.DestinationConfig{Dialect: "odata-sap"}, adapters.RouteConfig{Entity: "A_Doc", RequestIDHeader: "-"}).Deliver(t.Context(), call)
	if h := none.posts[0]; h.Get("RequestID") != "" || h.Get("RepeatabilityCreation") != "" || h.Get("-") != "" {
		t.Errorf("requestIdHeader: - leaves %v", h)
	}
}

// TestSAPVerdicts: what S/4HANA and its gateway answer, and what it means.
func TestSAPVerdicts(t *testing.T) {
	v2 := func(code, text string) string {
		return `{"error":{"code":"` + code + `","message":{"lang":"en","value":"` + text + `"},"innererror":{"transactionid":"4FDF3748112322F4E10000000A420C41","errordetails":[]}}}`
	}
	for name, c := range map[string]struct {
		status int
		header map[string]string
		body   string
		kind   ferry.VerdictKind
		effect ferry.Effect
	}{
		"a business exception":          {400, nil, v2("M8/534", "Enter a tax code"), ferry.Rejected, ferry.EffectNone},
		"500, locked by user":           {500, nil, v2("M3/999", "Material 4711 is locked by user MILLER"), ferry.Failed, ferry.EffectNone},
		"400, locked, by code":          {400, nil, v2("MC/601", "Objet demandé"), ferry.Failed, ferry.EffectNone},
		"500, locked, in German":        {500, nil, v2("ME/999", "Beleg 45 ist gesperrt durch Benutzer MILLER"), ferry.Failed, ferry.EffectNone},
		"500, locked, in French":        {500, nil, v2("ME/999", "Document 45 verrouillé par l'utilisateur MILLER"), ferry.Failed, ferry.EffectNone},
		"500, locked, in Spanish":       {500, nil, v2("ME/999", "Documento 45 bloqueado por el usuario MILLER"), ferry.Failed, ferry.EffectNone},
		"a blocked supplier is no lock": {400, nil, v2("F5/351", "Kreditor 17 ist für Buchungen gesperrt"), ferry.Rejected, ferry.EffectNone},
		"a supplier blocked for all":    {400, nil, v2("ME/027", "Supplier 17 is blocked"), ferry.Rejected, ferry.EffectNone},
		"423":                           {423, nil, v2("X/1", "busy"), ferry.Failed, ferry.EffectNone},
		"500 that says nothing":         {500, nil, v2("SY/530", "An exception was raised"), ferry.Unknown, ferry.EffectMaybe},
		"RequestID is outdated":         {400, nil, v2("/IWBEP/CM_COS/005", "RequestID is outdated"), ferry.Unknown, ferry.EffectMaybe},
		"not set up for RequestID":      {500, nil, v2("/IWBEP/CM_COS/001", "Check configuration"), ferry.Failed, ferry.EffectNone},
		"RequestID is refused":          {400, map[string]string{"RepeatabilityResult": "unsupported"}, v2("X/1", "no"), ferry.Failed, ferry.EffectNone},
		"an invoice that is there":      {400, nil, v2("M8/462", "Check if invoice already entered as logistics inv. doc. number 51"), ferry.Unknown, ferry.EffectMaybe},
		"a document that is there":      {400, nil, v2("ZZ/001", "Document 51 already exists"), ferry.Unknown, ferry.EffectMaybe},
		"no way to the system":          {500, nil, v2("/IWFND/CM_COS/064", "No System Alias found"), ferry.Unavailable, ferry.EffectNone},
		"stale":                         {412, nil, v2("/IWBEP/CM_MGW_RT/190", "Precondition failed"), ferry.Failed, ferry.EffectNone},
		"no If-Match":                   {428, nil, v2("X/1", "Precondition required"), ferry.Failed, ferry.EffectNone},
		"404":                           {404, nil, v2("/IWBEP/CM_MGW_RT/020", "Resource not found"), ferry.Rejected, ferry.EffectNone},
		"405":                           {405, nil, v2("X/1", "no"), ferry.Rejected, ferry.EffectNone},
		"415":                           {415, nil, v2("X/1", "no"), ferry.Rejected, ferry.EffectNone},
		"502":                           {502, nil, `<html>`, ferry.Unknown, ferry.EffectMaybe},
		"503":                           {503, nil, `<html>`, ferry.Unavailable, ferry.EffectNone},
		"429":                           {429, nil, ``, ferry.Throttled, ferry.EffectNone},
	} {
		s := &sapSystem{posted: func(w http.ResponseWriter, _ *http.Request) {
			for name, value := range c.header {
				w.Header().Set(name, value)
			}
			w.WriteHeader(c.status)
			_, _ = w.Write([]byte(c.body))
		}}
		v := sapRoute(t, s).Deliver(t.Context(), odataCall("K"))
		if v.Kind != c.kind || v.Effect != c.effect {
			t.Errorf("%s: %s, effect %s, code %q, %q; want %s, %s", name, v.Kind, v.Effect, v.Code, v.Text, c.kind, c.effect)
		}
		if strings.HasPrefix(c.body, "{") && v.RemoteCorrelationID != "4FDF3748112322F4E10000000A420C41" {
			t.Errorf("%s: the transaction is lost: %q", name, v.RemoteCorrelationID)
		}
	}
	// A success that says that the RequestID was of no use.
	s := &sapSystem{posted: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("RepeatabilityResult", "unsupported")
		w.WriteHeader(201)
		_, _ = w.Write([]byte(`{"d":{"No":"1"}}`))
	}}
	if v := sapRoute(t, s).Deliver(t.Context(), odataCall("K")); v.Kind != ferry.Delivered || !strings.Contains(v.Text, "RepeatabilityResult: unsupported") {
		t.Errorf("%+v", v)
	}
}

// TestPracticeSAP: the practice ERP's gateway: a token that is over, an answer that
// is repeated for a RequestID, errors in XML and JSON, amounts as texts.
func TestPracticeSAP(t *testing.T) {
	world := practice.New("s3cret-of-the-gateway", practice.Settings{Dialect: "odata-sap", OnDuplicate: practice.Repeat})
	srv := httptest.NewServer(world)
	defer srv.Close()
	defer world.Close()
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("s3cret-of-the-gateway"), 0o600); err != nil {
		t.Fatal(err)
	}
	dest, route := loadExample(t, "odata-sap", srv.URL, "file:"+filepath.ToSlash(key))
	d, err := erp.New(secret.Resolver{}, nil)(dest)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	adapter, err := d.Route(route)
	if err != nil {
		t.Fatal(err)
	}
	call := odataCall("PO-2026-000000000017")
	call.Body = []byte(`{"invoice":{"number":"A-1","supplier":"17","currency":"EUR","total":100,"date":"2026-11-26"}}`)
	first := adapter.Deliver(t.Context(), call)
	if first.Kind != ferry.Delivered || first.Reference == "" {
		t.Fatalf("%+v", first)
	}
	if err := world.Fail(practice.Fault{Kind: practice.FaultStatus, Status: 403, Code: "csrf"}); err != nil {
		t.Fatal(err)
	}
	second := adapter.Deliver(t.Context(), call) // the session is over; the RequestID is known
	if second.Kind != ferry.Delivered || second.Reference != first.Reference || len(world.Documents("")) != 1 {
		t.Errorf("%+v, %d documents", second, len(world.Documents("")))
	}
	found := adapter.Lookup(t.Context(), call)
	if found.State != adapters.Found || found.Reference != first.Reference {
		t.Errorf("%+v", found)
	}
	route.Map = `{InvoiceGrossAmount: .invoice.total}`
	if adapter, err = d.Route(route); err != nil {
		t.Fatal(err)
	}
	if v := adapter.Deliver(t.Context(), odataCallOf(`{"invoice":{"total":7}}`)); v.Kind != ferry.Rejected || !strings.Contains(v.Text, "InvoiceGrossAmount") {
		t.Errorf("an amount that is no text: %+v", v)
	}
	route.Map = `{UnknownField: 1}`
	if adapter, err = d.Route(route); err != nil {
		t.Fatal(err)
	}
	if v := adapter.Deliver(t.Context(), odataCallOf(`{}`)); v.Kind != ferry.Rejected || !strings.Contains(v.Text, "UnknownField") {
		t.Errorf("a property that there is not: %+v", v)
	}
}

func odataCallOf(body string) adapters.Call {
	call := odataCall("other")
	call.Body = []byte(body)
	return call
}
