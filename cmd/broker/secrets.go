package main

import (
	"log/slog"

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

// close ends the reads of the vault that are under way.
func (s *secrets) close() { s.vault.Close() }
