package erp_test

import (
	"testing"

	"ferry/adapters"
	"ferry/adapters/adaptertest"
	"ferry/adapters/erp"
	"ferry/httpauth"
	"ferry/secret"
)

func TestConformance(t *testing.T) {
	route := func() adapters.RouteConfig {
		return adapters.RouteConfig{
			URL: "/invoices", Map: ".", Reference: ".id",
			Lookup: &adapters.LookupConfig{URL: "/invoices?externalId={externalKey}", Reference: ".items[0].id"},
		}
	}
	for name, auth := range map[string]func(key secret.Ref) httpauth.Config{
		"apiKey": func(key secret.Ref) httpauth.Config {
			return httpauth.Config{Type: "apiKey", Header: "x-api-key", Key: key}
		},
		"basic": func(key secret.Ref) httpauth.Config {
			return httpauth.Config{Type: "basic", Username: "ferry", Password: key}
		},
	} {
		t.Run(name, func(t *testing.T) {
			adaptertest.Run(t, adaptertest.Harness{
				Open: erp.New(secret.Resolver{}, nil),
				Destination: func(url, keyFile string) adapters.DestinationConfig {
					return adapters.DestinationConfig{
						Adapter: "erp", Dialect: "rest", URL: url, Auth: auth(secret.Ref("file:" + keyFile)),
						Health: &adapters.HealthConfig{URL: "/ping"},
					}
				},
				Route: route,
			})
		})
	}
}
