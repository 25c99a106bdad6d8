package servicebus

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"ferry"
)

type noCredential struct{}

func (noCredential) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, errors.New("no token here")
}

const (
	theKey    = "c2VjcmV0LWtleS1vZi10aGUtbmFtZXNwYWNl"
	theString = "Endpoint=sb://acme.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=" + theKey
)

func TestConfigurationsThatAreGood(t *testing.T) {
	for name, cfg := range map[string]Config{
		"from the portal":   {ConnectionString: theString},
		"ends in ;":         {ConnectionString: theString + ";"},
		"in another order":  {ConnectionString: "SharedAccessKey=" + theKey + "=;SharedAccessKeyName=Root;Endpoint=sb://acme.servicebus.windows.net"},
		"in another case":   {ConnectionString: "endpoint=sb://acme.servicebus.windows.net;sharedaccesskeyname=Root;sharedaccesskey=" + theKey},
		"an emulator":       {ConnectionString: "Endpoint=sb://localhost:5673;SharedAccessKeyName=Root;SharedAccessKey=" + theKey + ";UseDevelopmentEmulator=true"},
		"not an emulator":   {ConnectionString: theString + ";UseDevelopmentEmulator=false"},
		"a signature":       {ConnectionString: "Endpoint=sb://acme.servicebus.windows.net;SharedAccessSignature=SharedAccessSignature sr=acme&sig=" + theKey + "&se=1&skn=Root"},
		"an empty entity":   {ConnectionString: theString + ";EntityPath="},
		"a namespace":       {Namespace: "acme.servicebus.windows.net", Credential: noCredential{}},
		"through a proxy":   {ConnectionString: theString, WebSockets: true, Proxy: "http://user:secret@proxy:3128"},
		"the usual proxy":   {ConnectionString: theString, WebSockets: true, Proxy: "env"},
		"a private address": {ConnectionString: theString, Endpoint: "10.0.0.4:5671", AdminURL: "https://10.0.0.4", ApplicationID: "ferry"},
	} {
		c, err := Dial(cfg)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := c.Close(t.Context()); err != nil {
			t.Errorf("%s: close: %v", name, err)
		}
	}
}

func TestConfigurationsThatAreNot(t *testing.T) {
	const where = "Endpoint=sb://acme.servicebus.windows.net;"
	for _, c := range []struct {
		cfg     Config
		message string // part of it
		hint    string
	}{
		{Config{}, "neither", "Entra ID"},
		{Config{ConnectionString: theString, Namespace: "acme.servicebus.windows.net"}, "both", "remove one"},
		{Config{Namespace: "acme.servicebus.windows.net"}, "no credential", "connection string"},
		{Config{Namespace: "https://acme.servicebus.windows.net/", Credential: noCredential{}}, "not the host name", "NAME.servicebus.windows.net"},
		{Config{ConnectionString: theString + ";EntityPath=orders"}, "EntityPath=orders", "namespace"},
		{Config{ConnectionString: theKey}, "without", "portal"},
		{Config{ConnectionString: "SharedAccessKeyName=Root;SharedAccessKey=" + theKey}, "no Endpoint", "portal"},
		{Config{ConnectionString: "Endpoint=https://acme.servicebus.windows.net;SharedAccessKeyName=Root;SharedAccessKey=" + theKey}, "no Endpoint", "sb://"},
		{Config{ConnectionString: "Endpoint=sb://" + theKey + "@acme;SharedAccessKeyName=Root;SharedAccessKey=" + theKey}, "no Endpoint", "sb://"},
		{Config{ConnectionString: "Endpoint=sb://acme/orders;SharedAccessKeyName=Root;SharedAccessKey=" + theKey}, "no Endpoint", "sb://"},
		{Config{ConnectionString: where + "SharedAccessKey=" + theKey}, "without its SharedAccessKeyName", "portal"},
		{Config{ConnectionString: where + "SharedAccessKeyName=Root"}, "neither", "portal"},
		{Config{ConnectionString: where + "SharedAccessKeyName=Root;SharedAccessKey=" + theKey + ";SharedAccessSignature=SharedAccessSignature sig=" + theKey}, "both", "remove"},
		{Config{ConnectionString: where + "SharedAccessSignature=" + theKey}, "is not one", "sr="},
		{Config{ConnectionString: theString + ";SharedAccessKey=" + theKey}, "twice", "portal"},
		{Config{ConnectionString: theString + ";UseDevelopmentEmulator=" + theKey}, "neither true nor false", ""},
		{Config{ConnectionString: "Endpoint=SB://localhost;SharedAccessKeyName=Root;SharedAccessKey=" + theKey + ";UseDevelopmentEmulator=true"}, "in small letters", "sb://"},
		{Config{ConnectionString: theString + "; ;UseDevelopmentEmulator=false"}, "without \"=\"", "portal"},
		{Config{ConnectionString: where + "Authentication=Managed Identity"}, "Entra ID", "namespace and a credential"},
		{Config{ConnectionString: theString, Proxy: "http://proxy:3128"}, "WebSockets only", "443"},
		{Config{ConnectionString: theString, WebSockets: true, Proxy: "user:" + theKey + "@proxy"}, "not a URL", "env"},
		{Config{ConnectionString: theString, Endpoint: "10.0.0.4"}, "not HOST:PORT", ""},
		{Config{ConnectionString: theString, AdminURL: "10.0.0.4:5300"}, "not a URL", "https://"},
		{Config{ConnectionString: theString, AdminURL: "https://user:" + theKey + "@10.0.0.4"}, "not a URL", "https://"},
		{Config{ConnectionString: theString, ApplicationID: strings.Repeat("f", 25)}, "24", ""},
	} {
		_, err := Dial(c.cfg)
		e, ok := errors.AsType[*ferry.Error](err)
		if !ok || e.Code != ferry.CodeBadConfig || !strings.Contains(e.Message, c.message) || !strings.Contains(e.Hint, c.hint) {
			t.Errorf("wanted %q with the hint %q, got %+v", c.message, c.hint, err)
			continue
		}
		if strings.Contains(e.Message+e.Hint, theKey) {
			t.Errorf("the key is shown: %s (%s)", e.Message, e.Hint)
		}
	}
}

func FuzzConnectionString(f *testing.F) {
	f.Add(theString)
	f.Add("Endpoint=sb://localhost;SharedAccessKeyName=a;SharedAccessKey=b;UseDevelopmentEmulator=true")
	f.Add("Endpoint=sb://a;SharedAccessSignature=SharedAccessSignature sr=a&sig=b&se=1&skn=c")
	f.Fuzz(func(t *testing.T, s string) {
		ns, err := parseConnectionString(s)
		if err != nil {
			if e, ok := errors.AsType[*ferry.Error](err); !ok || e.Message == "" {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		// What is let through, the SDK must be able to read, and secrets are known.
		c, err := Dial(Config{ConnectionString: s})
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		sdk, err := c.newSDK(nil)
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		_ = sdk.Close(t.Context())
		_ = c.Close(t.Context())
		if len(ns.secrets) != 1 || strings.Contains(ns.scrub("x"+ns.secrets[0]+"y"), ns.secrets[0]) && ns.secrets[0] != "*" && !strings.Contains("x***y", ns.secrets[0]) {
			t.Errorf("%q: its secrets are %q", s, ns.secrets)
		}
	})
}

func TestDurationsAsTheServiceWritesThem(t *testing.T) {
	for _, want := range []string{"PT0S", "PT1M", "PT5M", "PT20S", "PT1H30M", "P7D", "P14DT2H", "PT0.5S", "P1DT1H1M1S"} {
		d, err := ferry.ParseDuration(want)
		if err != nil {
			t.Fatal(err)
		}
		if got := *iso(d); got != want {
			t.Errorf("%s is written %s", want, got)
		}
	}
}
