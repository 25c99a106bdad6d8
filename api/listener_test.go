package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"ferry"
)

// Whatever only operators and admins may is on the admin listener alone; what
// senders, receivers, workers and destinations call is never there alone.
func TestEveryEndpointIsOnItsListeners(t *testing.T) {
	for _, ep := range newAPI(nil, Options{}).endpoints() {
		on := ep.listener()
		forOthers := ep.open || ep.byToken || slices.Contains(ep.roles, ferry.RoleSender) || slices.Contains(ep.roles, ferry.RoleReceiver)
		switch {
		case ep.id == "getMetrics":
			if on != AdminListener {
				t.Errorf("%s is on %s", ep.id, on)
			}
		case !forOthers && on != AdminListener:
			t.Errorf("%s %s is for operators, and on %s", ep.method, ep.path, on)
		case forOthers && on == AdminListener:
			t.Errorf("%s %s is on the admin listener alone", ep.method, ep.path)
		}
		if ep.act && on == bothListeners && !slices.Contains(ep.roles, ferry.RoleSender) {
			t.Errorf("%s %s is an operator's act on both listeners", ep.method, ep.path)
		}
	}
}

// A listener answers its own endpoints, describes only them, and says of the others
// that there is nothing.
func TestListenersAnswerTheirOwn(t *testing.T) {
	all := newAPI(nil, Options{}).endpoints()
	for _, l := range []Listener{PublicListener, AdminListener} {
		a := newAPI(refusals{}, Options{Listener: l})
		var doc struct {
			Paths map[string]map[string]any `json:"paths"`
		}
		text, err := a.openapi()
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &doc); err != nil {
			t.Fatal(err)
		}
		for _, ep := range all {
			want := ep.listener() == l || ep.listener() == bothListeners
			if _, described := doc.Paths[ep.path][strings.ToLower(ep.method)]; described != want {
				t.Errorf("%s: %s %s is described: %v, want %v", l, ep.method, ep.path, described, want)
			}
			if got := found(a, ep.method, ep.path); got != want {
				t.Errorf("%s: %s %s is there: %v, want %v", l, ep.method, ep.path, got, want)
			}
		}
	}
}

// refusals is a broker that only counts what is refused.
type refusals struct{ Service }

func (refusals) RequestRefused(string, ferry.Code) {}
func (refusals) Used(*ferry.Use)                   {}

// found says whether the surface knows method and path; a caller without a key is
// refused as nobody then.
func found(a *api, method, pattern string) bool {
	mux := a.mux
	if ofQueue(pattern) {
		mux = a.queues
	}
	r := httptest.NewRequest(method, strings.NewReplacer("{", "", "}", "").Replace(pattern), nil)
	_, at := mux.Handler(r)
	if at == "/" || at == "" {
		return false
	}
	r = httptest.NewRequest(http.MethodTrace, r.URL.Path, nil)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return slices.Contains(strings.Split(w.Header().Get("Allow"), ", "), method)
}
