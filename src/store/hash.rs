//! The keyed hash of an event as the engines keep it: 16 bytes, which are a blob in SQLite and, without a length before them, a
//! `uuid` in PostgreSQL.

use sqlx::{
    Decode, Encode, Postgres, Sqlite, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef, types::Oid},
    sqlite::{SqliteTypeInfo, SqliteValueRef},
};

/// PostgreSQL's `uuid` and `uuid[]`: numbers that never change.
const UUID: Oid = Oid(2_950);
const UUID_ARRAY: Oid = Oid(2_951);

/// The keyed hash of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hash16(pub(super) [u8; 16]);

impl Type<Sqlite> for Hash16 {
    fn type_info() -> SqliteTypeInfo {
        <[u8] as Type<Sqlite>>::type_info()
    }

    fn compatible(other: &SqliteTypeInfo) -> bool {
        <[u8] as Type<Sqlite>>::compatible(other)
    }
}

impl<'r> Decode<'r, Sqlite> for Hash16 {
    fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
        let bytes = <&[u8] as Decode<'r, Sqlite>>::decode(value)?;
        Ok(Self(bytes.try_into()?))
    }
}

impl Type<Postgres> for Hash16 {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(UUID)
    }

    fn compatible(other: &PgTypeInfo) -> bool {
        other.oid() == Some(UUID)
    }
}

impl PgHasArrayType for Hash16 {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(UUID_ARRAY)
    }
}

impl<'r> Decode<'r, Postgres> for Hash16 {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(Self(value.as_bytes()?.try_into()?))
    }
}

impl Encode<'_, Postgres> for Hash16 {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }
}
