// Package keyvault reads secrets of Azure Key Vault, for references of the form
// @Microsoft.KeyVault(…).
//
// What was read is kept in memory and read anew on a schedule, and when whoever
// was given it refuses it. A vault that cannot be reached, or refuses, leaves the
// value that was last read in use. Nothing is written to disk.
package keyvault
