package jwtauth_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"ferry"
	"ferry/internal/issuer"
	"ferry/jwtauth"
)

// A new key is taken with the first token that it signed, without a restart.
func TestRotation(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		before := w.token(nil)
		w.good(before)
		w.issuer.Rotate()
		w.good(w.token(nil))
		if n := w.issuer.Fetches(); n != 2 {
			t.Errorf("the keys were asked for %d times, want 2", n)
		}
		w.bad(before, ferry.CodeUnauthenticated, "has no key")
	})
}

// A key that the issuer withdrew is refused five minutes later at the latest, also
// for tokens that were found good before; until then nothing is asked for it.
func TestWithdrawnKeyEndsWithinFiveMinutes(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		token, id := w.token(nil), w.issuer.Key().KeyID
		w.good(token)
		w.issuer.AddKey("ES256")
		w.issuer.Withdraw(id)
		time.Sleep(4*time.Minute - time.Second)
		w.good(token)
		if n := w.issuer.Fetches(); n != 1 {
			t.Errorf("the keys were asked for %d times, want once", n)
		}
		time.Sleep(time.Minute + time.Second)
		w.bad(token, ferry.CodeUnauthenticated, "has no key")
	})
}

// Callers that come all the time never wait for the issuer: it is asked beforehand.
func TestKeysAreAskedForAhead(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		token := w.token(nil)
		for range 12 * 60 / 5 {
			began := time.Now()
			w.good(token)
			if began != time.Now() {
				t.Fatal("a caller waited")
			}
			synctest.Wait()
			time.Sleep(5 * time.Second)
		}
		if n := w.issuer.Fetches(); n != 3 {
			t.Errorf("the keys were asked for %d times in 12 minutes, want 3", n)
		}
	})
}

// Tokens with made-up key names make no storm at the issuer; and while they come, a
// real rotation is seen within ten seconds.
func TestForgedKeyNamesMakeNoStorm(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		good := w.token(nil)
		w.good(good)
		forged := issuer.New(w.issuer.URL).Key()
		began, n := time.Now(), 0
		for ; time.Since(began) < 10*time.Minute; n++ {
			forged.KeyID = fmt.Sprint("made-up-", n)
			w.bad(issuer.SignWith(forged, w.claims(nil), nil), ferry.CodeUnauthenticated, "has no key")
			time.Sleep(50 * time.Millisecond)
		}
		// A burst of 5, one each 10 s, and those for age.
		if asked := w.issuer.Fetches(); asked > 1+5+60+3 {
			t.Errorf("%d forged tokens had the keys asked for %d times", n, asked)
		}
		w.good(good)
		w.issuer.Rotate()
		rotated := w.token(nil)
		seen := time.Now()
		for ; ; time.Sleep(50 * time.Millisecond) {
			forged.KeyID = fmt.Sprint("made-up-", n)
			n++
			_, _ = w.v.Authenticate(t.Context(), issuer.SignWith(forged, w.claims(nil), nil))
			if _, err := w.v.Authenticate(t.Context(), rotated); err == nil {
				break
			}
		}
		if waited := time.Since(seen); waited > 10*time.Second {
			t.Errorf("the rotation was seen after %v", waited)
		}
	})
}

// Many callers at once ask once.
func TestOneAskingForMany(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		var wg sync.WaitGroup
		for i := range 64 {
			token := w.token(map[string]any{"sub": fmt.Sprint("s", i)})
			wg.Go(func() {
				if _, err := w.v.Authenticate(t.Context(), token); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := w.issuer.Fetches(); n != 1 {
			t.Errorf("the keys were asked for %d times", n)
		}
	})
}

// An issuer that is away: who is known goes on; a token that cannot be judged is
// not called bad, since a flow would give up for good; and it is soon seen that the
// issuer is back.
func TestIssuerAway(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.issuer.Away(true)
		w.v.Start()
		synctest.Wait()
		w.bad(w.token(nil), ferry.CodeIssuerUnavailable, "cannot be judged now")
		if !strings.Contains(w.log.String(), "answers 503") || strings.Count(w.log.String(), "WARN") != 1 {
			t.Errorf("the log does not say why, once: %s", w.log)
		}
		w.issuer.Away(false)
		w.bad(w.token(nil), ferry.CodeIssuerUnavailable, "cannot be judged now")
		time.Sleep(10 * time.Second)
		w.good(w.token(nil))

		w.issuer.Away(true)
		known := w.token(map[string]any{"exp": time.Now().Add(48 * time.Hour).Unix()})
		w.good(known)
		unknown := issuer.New(w.issuer.URL).Key()
		unknown.KeyID = "key-9"
		w.bad(issuer.SignWith(unknown, w.claims(nil), nil), ferry.CodeIssuerUnavailable, "cannot be judged now")
		for range 23 * 12 {
			time.Sleep(5 * time.Minute)
			began := time.Now()
			w.good(known)
			if time.Since(began) > 0 {
				t.Fatal("who is known waits for an issuer that is away")
			}
			synctest.Wait()
		}
		time.Sleep(2 * time.Hour)
		w.bad(known, ferry.CodeIssuerUnavailable, "cannot be judged now")
		w.issuer.Away(false)
		time.Sleep(10 * time.Second)
		w.good(known)
	})
}

// Answers of an issuer that lead nowhere are no keys; they name what is wrong, in
// the log alone.
func TestAnswersThatAreNoKeys(t *testing.T) {
	for name, tc := range map[string]struct {
		document func(map[string]any)
		set      func() (int, []byte)
		words    string
	}{
		"of another issuer":   {document: func(d map[string]any) { d["issuer"] = "https://login.example/other" }, words: "is of the issuer"},
		"keys without TLS":    {document: func(d map[string]any) { d["jwks_uri"] = "http://login.example/keys" }, words: "not an https URL"},
		"keys nowhere":        {document: func(d map[string]any) { delete(d, "jwks_uri") }, words: "not an https URL"},
		"a redirection":       {set: func() (int, []byte) { return 302, nil }, words: "answers 302"},
		"no JSON":             {set: func() (int, []byte) { return 200, []byte("<html>") }, words: "cannot be read"},
		"an object of no set": {set: func() (int, []byte) { return 200, []byte("{}") }, words: "no keys"},
		"more than 1 MiB":     {set: func() (int, []byte) { return 200, []byte(`{"keys":[]}` + strings.Repeat(" ", 1<<20)) }, words: "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, w *world) {
				w.issuer.Document, w.issuer.Set = tc.document, tc.set
				w.bad(w.token(nil), ferry.CodeIssuerUnavailable, "cannot be judged now")
				if !strings.Contains(w.log.String(), tc.words) {
					t.Errorf("the log does not say %q: %s", tc.words, w.log)
				}
			})
		})
	}
}

// A set of more keys than anybody has is read up to a bound.
func TestManyKeys(t *testing.T) {
	bubble(t, nil, func(_ *testing.T, w *world) {
		private := w.issuer.Key()
		public := private.Public()
		w.issuer.Set = func() (int, []byte) {
			set := jose.JSONWebKeySet{}
			for i := range 200 {
				key := public
				key.KeyID = fmt.Sprint("k", i)
				set.Keys = append(set.Keys, key)
			}
			return 200, must(jsonOf(set))
		}
		signed := func(id string) string {
			key := w.issuer.Key()
			key.KeyID = id
			return issuer.SignWith(key, w.claims(nil), nil)
		}
		w.good(signed("k99"))
		w.bad(signed("k100"), ferry.CodeUnauthenticated, "has no key")
	})
}

// The tokens of an Entra tenant come in two versions, with two names of the issuer;
// a tenant that is not listed is a stranger.
func TestEntraTenants(t *testing.T) {
	const tenant, stranger = "11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555"
	synctest.Test(t, func(t *testing.T) {
		entra := newEntra()
		v := jwtauth.New(jwtauth.Options{Issuers: []jwtauth.Issuer{{
			Name: "entra", Tenants: []string{tenant}, Audiences: []string{audience}, Algorithms: algorithms(), Transport: entra,
			Rules: []jwtauth.Rule{{Claim: "roles", Value: "Ferry.Send", Role: ferry.RoleSender}},
		}}})
		defer v.Close()
		sign := func(iss string, more map[string]any) string {
			i := entra.of(iss)
			claims := i.Claims(audience)
			claims["roles"] = []string{"Ferry.Send"}
			for k, x := range more {
				claims[k] = x
			}
			return i.Sign(claims, nil)
		}
		for iss, more := range map[string]map[string]any{
			"https://login.microsoftonline.com/" + tenant + "/v2.0": {"azp": "app-2", "ver": "2.0"},
			"https://sts.windows.net/" + tenant + "/":               {"appid": "app-1", "ver": "1.0"},
		} {
			who, err := v.Authenticate(t.Context(), sign(iss, more))
			if err != nil || !strings.HasPrefix(who.Name, "entra:app-") {
				t.Errorf("%s: %+v %v", iss, who, err)
			}
		}
		for _, iss := range []string{"https://login.microsoftonline.com/" + stranger + "/v2.0", "https://sts.windows.net/" + stranger + "/", "https://login.microsoftonline.com/common/v2.0"} {
			if _, err := v.Authenticate(t.Context(), sign(iss, nil)); ferry.CodeOf(err) != ferry.CodeUnauthenticated {
				t.Errorf("%s: %v", iss, err)
			}
		}
	})
}
