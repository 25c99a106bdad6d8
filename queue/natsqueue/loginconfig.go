package natsqueue

import (
	"fmt"
	"strings"

	"github.com/nats-io/nkeys"
)

// WorkerConfig is the worker as an entry of `users` in the configuration of a
// NATS server elsewhere, with its rights and no secret.
func WorkerConfig(w WorkerAuth) (string, error) {
	r, err := w.rights()
	if err != nil {
		return "", err
	}
	return userConfig(fmt.Sprintf("Ferry worker %s: %s", w.Name, strings.Join(w.Routes, ", ")), w.PublicKey, r), nil
}

// BrokerConfig is the same for the broker.
func BrokerConfig(publicKey string) (string, error) {
	if !nkeys.IsValidPublicUserKey(publicKey) {
		return "", fmt.Errorf("the broker's public key is not one of a user")
	}
	return userConfig("Ferry broker", publicKey, brokerRights()), nil
}

func userConfig(comment, public string, r rights) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n{\n  nkey: %s\n  permissions: {\n", comment, public)
	for _, part := range []struct {
		name     string
		subjects []string
	}{{"publish", r.publish}, {"subscribe", r.subscribe}} {
		fmt.Fprintf(&b, "    %s: {allow: [\n", part.name)
		for _, s := range part.subjects {
			fmt.Fprintf(&b, "      %q\n", s)
		}
		b.WriteString("    ]}\n")
	}
	b.WriteString("  }\n}\n")
	return b.String()
}
