package queue

import "ferry"

// EncodeReceipt gives the receipt's bytes as they travel, versioned. The
// worker's inbox keeps receipts in this form, to send them again.
func EncodeReceipt(r *ferry.Receipt) []byte { return encodeReceipt(r) }

// DecodeReceipt reads the form of EncodeReceipt, of this version or an older one.
func DecodeReceipt(data []byte) (ferry.Receipt, error) { return decodeReceipt(data) }
