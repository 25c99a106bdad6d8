package main

import (
	"fmt"
	"log/slog"
	"time"

	"ferry/config"
	"ferry/secret"
	"ferry/secret/keyvault"
)

// secrets reads the references of a configuration file. Who opened it closes it.
type secrets struct {
	secret.Resolver
	vault *keyvault.Store
}

// openSecrets makes what reads the references of the file; nothing is read yet.
func openSecrets(cfg *config.Broker, log *slog.Logger) *secrets {
	s := &secrets{vault: keyvault.Open(cfg.Secrets.KeyVault, secret.Resolver{}, log)}
	s.Vault = s.vault
	return s
}

// problems are what status tells of secrets.
func (s *secrets) problems() []string {
	var list []string
	for _, st := range s.vault.States() {
		switch {
		case st.Fault == "":
		case st.Known:
			list = append(list, fmt.Sprintf("since %s %s; the value read at %s goes on being used", st.Since.UTC().Format(time.RFC3339), st.Fault, st.ReadAt.UTC().Format(time.RFC3339)))
		default:
			list = append(list, fmt.Sprintf("since %s %s", st.Since.UTC().Format(time.RFC3339), st.Fault))
		}
	}
	return list
}

// close ends the reads of the vault that are under way.
func (s *secrets) close() { s.vault.Close() }
