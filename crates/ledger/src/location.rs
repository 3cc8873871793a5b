//! Where a ledger is kept, as a user says it: a directory, a database, an object store.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use store::{
    CheckpointStore as _, DataDir, DirObjects, FileJournal, JournalOptions, MetaStore, ObjectStore,
    PgJournal, PgMeta, PgOptions, Postgres, RemoteObjects, SettingStore as _, SqliteMeta,
};

use crate::LedgerError;
use crate::ledger::{Ledger, Stores};
use crate::options::Options;

/// The setting whose presence says that a database holds a ledger, and the file that does so of a directory.
pub(crate) const MANIFEST: &str = "ledger.json";
/// The setting that says where a ledger's objects are.
pub(crate) const OBJECTS: &str = "objects";
/// Where objects are that have no URL.
const DIRECTORY: &str = "directory";

/// Where a ledger is kept. What has no URL is embedded in the directory.
#[derive(Clone, Default)]
pub struct Location {
    /// The directory. With a database it holds the keys, and the objects where those have no URL.
    pub dir: PathBuf,
    /// A PostgreSQL database for journal, checkpoint, index, subject keys and tokens: several servers may share it.
    pub database_url: Option<String>,
    /// An object store for tiles, sealed values and documents: `s3://`, `gs://` or `az://`, then bucket and prefix.
    pub objects_url: Option<String>,
    /// How to get at the object store, by the names its own tools use (`AWS_ACCESS_KEY_ID`, …).
    pub object_options: Vec<(String, String)>,
}

impl std::fmt::Debug for Location {
    /// Without what may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Location")
            .field("dir", &self.dir)
            .field("database", &self.database_url.is_some())
            .field("objects_url", &self.objects_url)
            .finish_non_exhaustive()
    }
}

impl Location {
    /// All of it in a directory.
    pub fn embedded(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            ..Self::default()
        }
    }

    /// Whether a ledger is there.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn holds_ledger(&self) -> Result<bool, LedgerError> {
        match self.database()? {
            None => Ok(self.dir.join(MANIFEST).exists()),
            Some(database) => Ok(PgMeta::new(&database).kv_get(MANIFEST)?.is_some()),
        }
    }

    /// Asks the object store for something that is not there; whether it answers.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub fn ask_objects(&self) -> Result<(), LedgerError> {
        let objects = self.objects(&self.dir, &self.dir.join("tmp"))?;
        objects.get("log/none")?;
        Ok(())
    }

    /// The stores of a ledger that is there, with the lock of an embedded one.
    pub(crate) fn stores(&self) -> Result<(Stores, Option<DataDir>), LedgerError> {
        let Some(database) = self.database()? else {
            let data = DataDir::open(&self.dir)?;
            return Ok((self.stores_in(&data)?, Some(data)));
        };
        let meta = PgMeta::new(&database);
        let size = meta.latest_checkpoint()?.map_or(0, |stored| stored.size);
        let stores = Stores {
            objects: self.objects(&self.dir, &self.dir.join("tmp"))?,
            journal: Box::new(PgJournal::open(&database, size)?),
            meta: Arc::new(meta),
        };
        Ok((stores, None))
    }

    /// The embedded stores of a directory, with the objects where they are.
    pub(crate) fn stores_in(&self, data: &DataDir) -> Result<Stores, LedgerError> {
        let meta = SqliteMeta::open(&data.database())?;
        let size = meta.latest_checkpoint()?.map_or(0, |stored| stored.size);
        let (journal, recovery) =
            FileJournal::open(&data.journal(), size, JournalOptions::default())?;
        if recovery.cut_bytes > 0 {
            tracing::warn!(
                bytes = recovery.cut_bytes,
                "cut off a torn group, which was never acknowledged, at the journal's end"
            );
        }
        Ok(Stores {
            objects: self.objects(data.path(), &data.tmp())?,
            meta: Arc::new(meta),
            journal: Box::new(journal),
        })
    }

    pub(crate) fn database(&self) -> Result<Option<Postgres>, LedgerError> {
        let open = |url: &String| Postgres::open(&PgOptions::new(url.as_str()));
        Ok(self.database_url.as_ref().map(open).transpose()?)
    }

    pub(crate) fn objects(
        &self,
        dir: &Path,
        tmp: &Path,
    ) -> Result<Arc<dyn ObjectStore>, LedgerError> {
        Ok(match &self.objects_url {
            Some(url) => Arc::new(RemoteObjects::open(url, &self.object_options)?),
            None => Arc::new(DirObjects::open(dir, tmp)?),
        })
    }

    fn objects_place(&self) -> &str {
        let url = self.objects_url.as_deref().unwrap_or(DIRECTORY);
        url.trim_end_matches('/')
    }

    /// Notes where the ledger's objects are.
    pub(crate) fn remember_objects(&self, meta: &dyn MetaStore) -> Result<(), LedgerError> {
        Ok(meta.kv_put(OBJECTS, self.objects_place().as_bytes())?)
    }

    /// What the ledger remembers of where its objects are: a server that looked elsewhere would find none.
    pub(crate) fn check_objects(&self, meta: &dyn MetaStore) -> Result<(), LedgerError> {
        let known = meta.kv_get(OBJECTS)?;
        if known.is_none()
            && meta
                .latest_checkpoint()?
                .is_none_or(|stored| stored.size == 0)
        {
            return self.remember_objects(meta);
        }
        self.same_objects(&known.unwrap_or_else(|| DIRECTORY.into()))
    }

    /// As [`check_objects`](Self::check_objects), for whoever only reads.
    pub(crate) fn check_known_objects(&self, meta: &dyn MetaStore) -> Result<(), LedgerError> {
        match meta.kv_get(OBJECTS)? {
            Some(known) => self.same_objects(&known),
            None => Ok(()),
        }
    }

    fn same_objects(&self, known: &[u8]) -> Result<(), LedgerError> {
        let given = self.objects_place();
        if known == given.as_bytes() {
            return Ok(());
        }
        Err(LedgerError::OtherObjects {
            known: String::from_utf8_lossy(known).into_owned(),
            given: given.to_owned(),
        })
    }
}

impl Ledger {
    /// Makes a ledger, and opens it.
    ///
    /// # Errors
    /// There is one, or the place cannot be written.
    pub fn create_at(location: &Location, options: Options) -> Result<Self, LedgerError> {
        if location.database_url.is_none() {
            if location.objects_url.is_some() {
                // Before anything is made: a store that cannot be used is refused here.
                location.objects(&location.dir, &location.dir.join("tmp"))?;
            }
            Self::make(&location.dir, &options)?;
            return Self::open_at(location, options);
        }
        fs::create_dir_all(&location.dir).map_err(|e| LedgerError::io(&location.dir, e))?;
        let (stores, _) = location.stores()?;
        location.check_objects(&*stores.meta)?;
        let ledger = Self::create_shared(&location.dir, options, stores)?;
        // For whoever is to verify: what the database has, as a file.
        let path = location.dir.join("policy");
        fs::write(&path, ledger.policy()).map_err(|e| LedgerError::io(&path, e))?;
        Ok(ledger)
    }

    /// Opens the ledger at a place.
    ///
    /// # Errors
    /// There is none, another process has it, its stores do not answer, or do not hold together.
    pub fn open_at(location: &Location, options: Options) -> Result<Self, LedgerError> {
        let (stores, data) = location.stores()?;
        location.check_objects(&*stores.meta)?;
        Self::open_in(&location.dir, options, stores, data)
    }
}
