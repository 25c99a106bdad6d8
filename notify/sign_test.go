package notify

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// The example of the specification of Standard Webhooks.
func TestTheExampleOfTheSpecification(t *testing.T) {
	secret, err := ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	at, body := time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`)
	const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	if got := Sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, body); got != want {
		t.Errorf("signed %s, want %s", got, want)
	}
}

func TestVerify(t *testing.T) {
	now := time.Unix(1614265330, 0)
	old, fresh, other := []byte("an old secret, 24 bytes "), []byte("a fresh secret, 24 bytes"), []byte("somebody else's secret..")
	body := []byte(`{"id":1}`)
	rotating := http.Header{}
	sign(rotating, [][]byte{fresh, old}, "msg_1", now, body)
	if n := len(strings.Fields(rotating.Get("webhook-signature"))); n != 2 {
		t.Fatalf("%d signatures while two secrets are good: %v", n, rotating)
	}
	alone := http.Header{}
	sign(alone, [][]byte{fresh}, "msg_1", now, body)
	changed := func(name, value string) http.Header {
		h := alone.Clone()
		h.Set(name, value)
		return h
	}
	for name, c := range map[string]struct {
		header http.Header
		secret []byte
		body   []byte
		now    time.Time
		good   bool
	}{
		"fresh secret":             {rotating, fresh, body, now, true},
		"old secret":               {rotating, old, body, now, true},
		"old secret, after it":     {alone, old, body, now, false},
		"another's":                {rotating, other, body, now, false},
		"another body":             {alone, fresh, []byte(`{"id":2}`), now, false},
		"another id":               {changed("webhook-id", "msg_2"), fresh, body, now, false},
		"another time":             {changed("webhook-timestamp", "1614265331"), fresh, body, now, false},
		"no time":                  {changed("webhook-timestamp", "now"), fresh, body, now, false},
		"another version":          {changed("webhook-signature", "v2"+alone.Get("webhook-signature")[2:]), fresh, body, now, false},
		"nothing":                  {changed("webhook-signature", ""), fresh, body, now, false},
		"five minutes later":       {alone, fresh, body, now.Add(Tolerance), true},
		"more than five minutes":   {alone, fresh, body, now.Add(Tolerance + time.Second), false},
		"from the future, too far": {alone, fresh, body, now.Add(-Tolerance - time.Second), false},
	} {
		if got := Verify(c.secret, c.header, c.body, c.now); got != c.good {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestSecretsThatAreNone(t *testing.T) {
	for _, text := range []string{"", "whsec_", "whsec_?", "a b"} {
		if _, err := ParseSecret(text); err == nil {
			t.Errorf("%q is taken for a secret", text)
		} else if text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("the error repeats it: %v", err)
		}
	}
}
