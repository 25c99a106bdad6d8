package main

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ferry"
	"ferry/config"
	"ferry/secret"
	"ferry/secret/keyvault"
)

// secrets reads the references of a configuration file. Who opened it closes it.
type secrets struct {
	secret.Resolver
	vault *vault
}

// openSecrets makes what reads the references of the file; nothing is read yet.
func openSecrets(cfg *config.Broker, log *slog.Logger) *secrets {
	s := &secrets{vault: &vault{}}
	s.vault.now.Store(keyvault.Open(cfg.Secrets.KeyVault, secret.Resolver{}, log))
	s.Vault = s.vault
	return s
}

// vault is the store that is in use now: a new configuration may bring another one,
// and whoever reads secrets goes on with that.
type vault struct {
	now atomic.Pointer[keyvault.Store]
}

func (v *vault) Secret(ref secret.VaultRef) (secret.Value, error) { return v.now.Load().Secret(ref) }
func (v *vault) Past(ref secret.VaultRef) []secret.Value          { return v.now.Load().Past(ref) }
func (v *vault) Refused(ref secret.VaultRef, was secret.Value) bool {
	return v.now.Load().Refused(ref, was)
}

// Describe and Collect give the metrics of the store that is in use.
func (v *vault) Describe(to chan<- *prometheus.Desc) { v.now.Load().Collector().Describe(to) }
func (v *vault) Collect(to chan<- prometheus.Metric) { v.now.Load().Collector().Collect(to) }

// follow has whoever reads through s read what next reads from now on.
func (s *secrets) follow(next *secrets) {
	if s.vault != next.vault {
		s.vault.now.Swap(next.vault.now.Load()).Close()
	}
}

// problems are what status tells of secrets.
func (s *secrets) problems() []string {
	var list []string
	for _, st := range s.vault.now.Load().States() {
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
func (s *secrets) close() { s.vault.now.Load().Close() }

// checkedSecret is a secret that the file refers to; it holds none.
type checkedSecret struct {
	Path    string `json:"path"`
	Secret  string `json:"secret"` // the reference
	Version string `json:"version,omitempty"`
	Problem string `json:"problem,omitempty"`
	Hint    string `json:"hint,omitempty"`
	Note    string `json:"note,omitempty"`
}

// check reads every secret that the file refers to; the error says that some
// cannot be read.
func (s *secrets) check(cfg *config.Broker, offline bool, now time.Time) (list []checkedSecret, err error) {
	if offline {
		return nil, nil
	}
	failed := 0
	for _, r := range cfg.References() {
		one := checkedSecret{Path: r.Path, Secret: r.Ref.String()}
		if err := s.look(r.Ref, &one, now); err != nil {
			failed++
			one.Problem, one.Hint = err.Error(), hintOf(err)
		}
		list = append(list, one)
	}
	if failed > 0 {
		err = ferry.Errorf(ferry.CodeBadConfig, "%d of %s cannot be read", failed, count(len(list), "secret"))
	}
	return list, err
}

// look reads one secret, and notes what is known of it.
func (s *secrets) look(ref secret.Ref, out *checkedSecret, now time.Time) error {
	v, ok := ref.Vault()
	if !ok {
		_, err := s.Resolve(ref)
		return err
	}
	got, err := s.vault.now.Load().Look(v)
	out.Version = got.Version
	if err == nil && got.Ended(now) {
		out.Note = "expired at " + got.Expires.UTC().Format(time.RFC3339) + ", and is used as long as it is taken"
	}
	return err
}

func (a *app) tellSecrets(list []checkedSecret) {
	p := a.paint()
	for _, s := range list {
		switch {
		case s.Problem != "":
			a.printf("  %s %s: %s\n", p.red("!"), s.Path, oneLine(s.Problem))
			if s.Hint != "" {
				a.printf("    %s\n", oneLine(s.Hint))
			}
		case s.Note != "":
			a.printf("  %s %s: %s, %s\n", p.yellow("!"), s.Path, s.Secret, s.Note)
		default:
			a.printf("  %s: %s can be read\n", s.Path, s.Secret)
		}
	}
}

// hintOf is what to do about an error, where it says so.
func hintOf(err error) string {
	if e, ok := errors.AsType[*ferry.Error](err); ok {
		return e.Hint
	}
	return ""
}
