package main

import (
	"ferry"
	"ferry/api"
	"ferry/config"
	"ferry/secret"
)

// sasPolicies makes the policies of the configuration. Their keys are read once
// here, so that a start tells what is wrong with them, and again for every token.
func sasPolicies(cfg *config.Broker, resolver secret.Resolver) ([]api.SASPolicy, error) {
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
		}}
		keys, err := policies[i].Keys()
		if err != nil {
			return nil, err
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
