package sas

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus/admin"
)

const key = "c2VjcmV0IGtleQ=="

var (
	now  = time.Date(2026, 11, 3, 8, 0, 0, 0, time.UTC)
	soon = now.Add(time.Hour).Unix()
)

func keysOf(policy string) []string {
	if policy == "sender" {
		return []string{"the old key", key}
	}
	return nil
}

// signed makes a token from fields as they are written.
func signed(sr string, se int64, with string) string {
	mac := hmac.New(sha256.New, []byte(with))
	fmt.Fprintf(mac, "%s\n%d", sr, se)
	sig := url.QueryEscape(base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return fmt.Sprintf("SharedAccessSignature sr=%s&sig=%s&se=%d&skn=sender", sr, sig, se)
}

func upper(uri string) string { return url.QueryEscape(uri) }
func lower(uri string) string { return strings.ToLower(url.QueryEscape(uri)) }

func TestVerify(t *testing.T) {
	const ns = "sb://Ns.servicebus.windows.net"
	good := signed(lower(ns+"/orders"), soon, key)
	field := func(name string) string {
		_, rest, _ := strings.Cut(good, name+"=")
		value, _, _ := strings.Cut(rest, "&")
		return value
	}
	for _, c := range []struct {
		name, token, resource string
		want                  error
	}{
		{"escaped in lower case", good, ns + "/orders", nil},
		{"escaped in upper case", signed(upper(ns+"/orders"), soon, key), ns + "/orders", nil},
		{"not escaped", signed(ns+"/orders", soon, key), ns + "/orders", nil},
		{"the other key", signed(lower(ns+"/orders"), soon, "the old key"), ns + "/orders", nil},
		{"other order and unknown fields", fmt.Sprintf("SharedAccessSignature skn=sender&x=y&se=%s&sig=%s&sr=%s", field("se"), field("sig"), field("sr")), ns + "/orders", nil},
		{"another scheme, case and port", good, "amqps://NS.ServiceBus.windows.net:5671/ORDERS", nil},
		{"below it", good, ns + "/orders/$management", nil},
		{"the whole namespace", signed(lower(ns+"/"), soon, key), ns + "/orders", nil},
		{"the namespace without a scheme", signed("ns.servicebus.windows.net", soon, key), ns + "/orders", nil},
		{"with a query", signed(lower("https://ns.servicebus.windows.net/orders?api-version=2024-05"), soon, key), ns + "/orders", nil},
		{"a path on any host", good, "/Orders/messages", nil},
		{"the namespace of the emulator", signed(lower("amqp://127.0.0.1:5672/"), soon, key), "amqp://127.0.0.1:5672/orders", nil},

		{"another queue", good, ns + "/stock", ErrResource},
		{"a queue that begins alike", good, ns + "/orders2", ErrResource},
		{"above it", good, ns, ErrResource},
		{"above it, any host", good, "/", ErrResource},
		{"another path on any host", good, "/orders2", ErrResource},
		{"another namespace", good, "sb://other.servicebus.windows.net/orders", ErrResource},
		{"a wrong key", signed(lower(ns+"/orders"), soon, "c2VjcmV0IGtleQ"), ns + "/orders", ErrSignature},
		{"the key decoded", signed(lower(ns+"/orders"), soon, "secret key"), ns + "/orders", ErrSignature},
		{"no such policy", strings.Replace(good, "skn=sender", "skn=reader", 1), ns + "/orders", ErrSignature},
		{"no policy", strings.Replace(good, "&skn=sender", "", 1), ns + "/orders", ErrMalformed},
		{"another resource put in", strings.Replace(good, "orders", "stock", 1), ns + "/stock", ErrSignature},
		{"another end put in", strings.Replace(good, fmt.Sprint(soon), fmt.Sprint(soon+1), 1), ns + "/orders", ErrSignature},
		{"ends now", signed(lower(ns+"/orders"), now.Unix(), key), ns + "/orders", ErrExpired},
		{"ended", signed(lower(ns+"/orders"), now.Unix()-1, key), ns + "/orders", ErrExpired},
		{"never ends", signed(lower(ns+"/orders"), 1<<62, key), ns + "/orders", ErrMalformed},
		{"ends too late", signed(lower(ns+"/orders"), now.Add(25*time.Hour).Unix(), key), ns + "/orders", ErrMalformed},
		{"a field twice", good + "&sr=x", ns + "/orders", ErrMalformed},
		{"an empty resource", signed("", soon, key), ns + "/orders", ErrMalformed},
		{"no number", strings.Replace(good, "se=", "se=x", 1), ns + "/orders", ErrMalformed},
		{"no base64", strings.Replace(good, "sig=", "sig=%21", 1), ns + "/orders", ErrMalformed},
		{"a bad escape", strings.Replace(good, "sig=", "sig=%2", 1), ns + "/orders", ErrMalformed},
		{"no signature", strings.Replace(good, field("sig"), "", 1), ns + "/orders", ErrSignature},
		{"a bearer token", "Bearer abc", ns + "/orders", ErrMalformed},
		{"nothing", "", ns + "/orders", ErrMalformed},
		{"too long", good + "&x=" + strings.Repeat("y", MaxChars), ns + "/orders", ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Verify(c.token, c.resource, now, 24*time.Hour, keysOf)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err == nil && (got.Policy != "sender" || !got.Expires.Equal(time.Unix(soon, 0))) {
				t.Fatalf("got %+v", got)
			}
			if err != nil && strings.Contains(err.Error(), field("sig")) {
				t.Fatalf("the error quotes the token: %v", err)
			}
		})
	}
}

// Base64 has pluses, and not everybody escapes them.
func TestAPlusInTheSignature(t *testing.T) {
	for se := soon; se < soon+1000; se++ {
		token := signed("sb://ns/q", se, key)
		if !strings.Contains(token, "%2B") {
			continue
		}
		for _, token := range []string{token, strings.ReplaceAll(token, "%2B", "+"), strings.ReplaceAll(token, "%2B", "%2b")} {
			if _, err := Verify(token, "/q", now, 24*time.Hour, keysOf); err != nil {
				t.Fatalf("%s: %v", token, err)
			}
		}
		return
	}
	t.Fatal("no signature has a plus")
}

// caught keeps the token of a request and answers nothing useful.
type caught struct{ token, url string }

// Do is what the SDK calls.
func (c *caught) Do(r *http.Request) (*http.Response, error) {
	c.token, c.url = r.Header.Get("Authorization"), r.URL.String()
	return &http.Response{StatusCode: http.StatusNotFound, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

func TestTokensOfTheGoSDK(t *testing.T) {
	c := &caught{}
	options := &admin.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: c}}
	client, err := admin.NewClientFromConnectionString("Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=sender;SharedAccessKey="+key, options)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"orders", "Ferry.Messages.orders", "a/b"} {
		if _, err := client.GetQueue(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
		for _, resource := range []string{c.url, "/" + name, "/" + name + "/messages", "amqps://ns.servicebus.windows.net/" + name} {
			if _, err := Verify(c.token, resource, time.Now(), 24*time.Hour, keysOf); err != nil {
				t.Errorf("%s for %s: %v", c.token, resource, err)
			}
		}
		if _, err := Verify(c.token, "/"+name+"2", time.Now(), 24*time.Hour, keysOf); !errors.Is(err, ErrResource) {
			t.Errorf("got %v", err)
		}
		if _, err := Verify(c.token, "/"+name, time.Now(), 24*time.Hour, func(string) []string { return []string{"other"} }); !errors.Is(err, ErrSignature) {
			t.Errorf("got %v", err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(signed(lower("sb://ns/q"), soon, key), "/q")
	f.Add("SharedAccessSignature sr=%&sig=&se=&skn=", "sb://ns:1/q?x")
	f.Add("SharedAccessSignature sr=/&sig=YQ==&se=1&skn=a", "")
	f.Fuzz(func(t *testing.T, token, resource string) {
		got, err := Parse(token)
		if err != nil {
			return
		}
		if got.Policy == "" || got.Resource == "" {
			t.Fatalf("%+v", got)
		}
		if got.Covers(resource) && !got.Covers(strings.TrimRight(resource, "/")+"/below") && !strings.Contains(resource, "?") {
			t.Fatalf("%q covers %q but nothing below it", got.Resource, resource)
		}
		if got.SignedBy("never") {
			t.Fatal("signed by a key that nobody has")
		}
	})
}
