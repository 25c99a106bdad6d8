package main

import (
	"log/slog"

	"ferry"
	"ferry/api"
	"ferry/config"
	"ferry/secret"
)

// sasPolicies makes the policies of the configuration. Their keys are read once
// here, so that a start tells what is wrong with them, and again for every token. A
// vault that is away is no reason to take nothing from anybody: tokens of its
// policies are told to come again.
func sasPolicies(cfg *config.Broker, resolver secret.Resolver, log *slog.Logger) ([]api.SASPolicy, error) {
	policies := make([]api.SASPolicy, len(cfg.SAS))
	for i, p := range cfg.SAS {
		refs := []secret.Ref{p.Key}
		if !p.SecondaryKey.IsZero() {
			refs = append(refs, p.SecondaryKey)
		}
		policies[i] = api.SASPolicy{Name: p.Name, Rights: p.Rights, Routes: p.Routes, Keys: func() ([]secret.Value, error) {
			keys := make([]secret.Value, len(refs))
			for j, ref := range refs {
				var err error
				if keys[j], err = resolver.Resolve(ref); err != nil {
					return nil, err
				}
			}
			return keys, nil
		}, Renew: func() bool {
			changed := false
			for _, ref := range refs {
				if was, err := resolver.Resolve(ref); err == nil && resolver.Refused(ref, was) {
					changed = true
				}
			}
			return changed
		}}
		keys, err := policies[i].Keys()
		if ferry.CodeOf(err) == ferry.CodeSecretUnavailable {
			log.Warn("secret.unavailable", "policy", p.Name, "error", err.Error(), "next", "its tokens are answered 503 until it can be read")
			continue
		}
		if err != nil {
			return nil, ferry.Errorf(ferry.CodeBadConfig, "sas policy %s: %w", p.Name, err).WithHint("%s", hintOf(err))
		}
		for j, key := range keys {
			if len(key.Reveal()) < api.MinSASKey {
				return nil, ferry.Errorf(ferry.CodeBadConfig, "the key %s of the SAS policy %s has fewer than %d characters", refs[j], p.Name, api.MinSASKey).
					WithHint("make one with: openssl rand -base64 32")
			}
		}
	}
	return policies, nil
}
