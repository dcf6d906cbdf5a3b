//! The commonest words of eight languages, the commonest first: function words, then what every text
//! speaks of. Written down by hand; an apostrophe parts words (`l`, `qu`, `dell`).

pub const SPANISH: &str = "de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le ha \
me si sin sobre este ya entre cuando todo esta ser son dos también fue había era muy años hasta desde está mi porque qué \
solo han yo hay vez puede todos así nos ni parte tiene él uno donde bien tiempo mismo ese ahora cada e vida otro después te \
otros aunque esa eso hace otra gobierno tan durante siempre día tanto ella tres sí dijo sido gran país según menos mundo \
año antes estado quien mujer hombre casa nada hacer nosotros ellos mucho estos trabajo decir ustedes hoy dice algo noche \
agua poco muchos mejor estaba tengo tenía primera ver vamos estoy gracias aquí luego entonces ojos mano cosa hijo señor \
tierra niño canción corazón pequeño ciudad calle pueblo nunca mientras llegó quiero creo debe forma contra nuestro nuestra \
usted bueno buenos tener hablar gente manera hemos he cómo cuándo dónde quién ay mañana sol mar luna cielo hacia ante";

pub const PORTUGUESE: &str = "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das \
tem à seu sua ou ser quando muito há nos já está eu também só pelo pela até isso ela entre era depois sem mesmo aos ter \
seus quem nas me esse eles estão você tinha foram essa num nem suas meu às minha têm numa pelos elas havia seja qual será \
nós tenho lhe deles essas esses pelas este fosse dele tu te vocês vos lhes meus minhas teu tua nosso nossa dela estes esta \
isto aquele aquela aquilo estou estamos esteve são não então dia casa vida tempo ano anos coisa homem mulher mundo bem \
fazer ainda onde sempre hoje dois noite água pode dizer disse ver olhos mão mãe filho senhor terra menino canção coração \
pequeno cidade rua povo nunca enquanto chegou quero acho deve forma contra governo trabalho outro outra outros porque \
muitos assim melhor lá aqui depois gente maneira fazem nada tudo todos cada amanhã sol mar lua céu obrigado bom boa uns";

pub const CATALAN: &str = "de la i a el que en els les un una per amb del no és al es l d s n va ser com més o però dels seu seva \
si ha aquest aquesta són als hi ho molt també fins quan on sobre havia era tot tots entre sense ja perquè només anys havien \
fer ens em ni us et li pel pels seus seves han he hem està estava dos cada altres altre després abans encara aquí així \
sempre mai res qui què jo tu ell ella nosaltres ells part any dia temps vida casa home dona món cosa gent poble ciutat \
carrer nit aigua mà ulls fill mare pare terra nen cançó cor petit petita gran va van vaig vam dir fet dit pot poden cal \
tenir té tenia tenim vol vull avui demà ara llavors doncs sota dalt prop lluny cap bé bon bona nou nova llibre feina \
govern estat país nostre nostra meu meva teu teva molts moltes mateix mateixa això allò aquell aquella des contra durant \
mentre segons fora dins sol mar lluna cel vent matí tarda quatre tres primer gràcies som fou foren queda tothom algú";

pub const GALICIAN: &str = "de a o que e do da en un para é con non unha os no se na por máis as dos como pero foi ao el das ten \
á seu súa ou ser cando moi hai nos xa está eu tamén só polo pola ata iso ela entre era despois sen mesmo aos ter seus quen \
nas me ese eles están ti tiña foron esa nun nin súas meu ás miña teñen nunha polos elas había sexa cal será nós teño lle \
deles esas eses polas este fose del te vós lles meus miñas teu túa noso nosa dela estes esta isto aquel aquela aquilo \
estou estamos estivo son entón día casa vida tempo ano anos cousa home muller mundo ben facer aínda onde sempre hoxe dous \
noite auga pode dicir dixo ver ollos man nai fillo señor terra neno canción corazón pequeno cidade rúa pobo nunca mentres \
chegou quero coido debe forma contra goberno traballo outro outra outros porque moitos moito así mellor alí aquí xente \
xeito fan nada todo todos cada mañá sol mar lúa ceo grazas bo boa uns unhas dende segundo fronte deixou fixo vai imos";

pub const FRENCH: &str = "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont avec son \
l d qu n s c j m sa aux mais comme ou si leur y dont tout nous sa cette bien être deux même ces aussi fait elle été peut \
ses après entre sans on ont vous je sous avant depuis où lui encore ans avait était très cela non peu moins trois toute \
tous ainsi leurs jour temps vie homme femme monde maison fois eau main yeux nuit chose enfant mère père terre ville rue \
petit petite grand grande rien jamais toujours ici là alors quand parce jusque chez vers contre pendant tu te me mon ma \
mes ton ta tes notre votre nos vos eux moi toi dit faire dire voir aller vient va suis es sommes êtes ai as avons avez \
aurait sera serait autre autres chaque quelque quelques beaucoup trop peuple gouvernement travail année années aujourd \
hui demain matin soir soleil mer lune ciel cœur chanson nouveau nouvelle premier fils seigneur merci bon bonne étaient";

pub const ITALIAN: &str = "di che e la il un a per in una non sono è si da le con i del l della al dei nel ma come più anche se ha \
lo o gli delle alla su questo questa dell d nella ci mi io ho hanno era quando stato essere due alle suo sua cui degli \
dal tra dopo sua dalla fra tutto tutti prima molto solo così poi loro ancora sempre anni anno giorno tempo vita uomo donna \
mondo casa volta acqua mano occhi notte cosa bambino madre padre terra città strada piccolo piccola grande niente nulla \
mai qui qua là allora perché dove chi senza contro verso durante tu ti te mio mia miei tuo tua nostro nostra vostro voi \
noi lui lei ne vi ai agli sul sulla dalle negli fatto detto fare dire vedere andare va viene sia siamo siete hai abbiamo \
avete avrebbe sarà sarebbe altro altra altri ogni qualche molti troppo poco popolo governo lavoro paese oggi domani \
mattina sera sole mare luna cielo cuore canzone nuovo nuova primo figlio signore grazie buono bene erano aveva fu però quello quella";

pub const ENGLISH: &str = "the of and to in a is that it was for on are as with his they i at be this have from or had by but not \
what all were we when your can said there use an each which she do how their if will up other about out many then them \
these so some her would make like him into time has look two more write go see number no way could people my than first \
been who its now find long down day did get come made may part over new after only little work know place year years live \
me back give most very our just name good man think say great where help through much before line right too mean old any \
same tell boy came want show also around small must big even such because turn here why went men read need land home us \
again never always house world life water hand eyes night thing child mother father earth city street nothing every \
between while without against government country today tomorrow morning sun sea moon sky heart song let being don t s";

pub const GERMAN: &str = "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er \
hat dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur bis mehr \
durch man sein wurde sei ich du wir ihr ihm ihn uns euch mich mir dich dir mein meine dein deine seine ihre unser wenn \
kann doch schon hier da dann wo was wer warum weil ohne gegen unter zwischen während immer nie nichts etwas alles alle \
jeder jede viel viele wenig sehr gut ganz neu neue groß große klein kleine alt erste zwei drei jahr jahre jahren tag zeit \
leben mann frau welt haus mal wasser hand augen nacht ding kind mutter vater erde stadt straße land volk regierung arbeit \
heute morgen abend sonne meer mond himmel herz lied sohn herr danke ja nein machen sagen sagte sehen gehen geht kommt kam \
hatte hatten waren wäre würde muss will soll diese dieser dieses kein keine keinen vom beim ins wieder jetzt hin";
