// Package jwtauth judges the tokens of issuers: signed by a key that the issuer's
// discovery document leads to, for this broker, in time; and what their claims let
// them do here.
//
// Nothing that a token says of its own keys (jku, x5u, jwk, x5c) is looked at. Keys
// of an issuer are asked for again when they are five minutes old, and when a token
// names one that is not known, which happens seldom enough that made-up names cannot
// make a storm of it. An issuer that is away stops nobody whose keys are known.
package jwtauth
