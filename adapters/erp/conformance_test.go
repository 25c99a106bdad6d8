package erp_test

import (
	"testing"

	"ferry/adapters"
	"ferry/adapters/adaptertest"
	"ferry/httpauth"
	"ferry/secret"
)

func TestConformance(t *testing.T) {
	adaptertest.Run(t, practiceHarness(t, "rest"))
}

func TestConformanceBasic(t *testing.T) {
	h := practiceHarness(t, "rest")
	withKey := h.Destination
	h.Destination = func(url, keyFile string) adapters.DestinationConfig {
		dest := withKey(url, keyFile)
		dest.Auth = httpauth.Config{Type: "basic", Username: "ferry", Password: secret.Ref("file:" + keyFile)}
		return dest
	}
	adaptertest.Run(t, h)
}
